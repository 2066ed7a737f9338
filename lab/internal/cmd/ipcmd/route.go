package ipcmd

// ip route.

import (
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/route"
)

func (i *ip) route() error {
	return i.do("route", verbs{
		{Name: "list", Value: (*ip).routeShow},
		{Name: "show", Value: (*ip).routeShow},
		{Name: "lst", Value: (*ip).routeShow},
		{Name: "add", Value: func(i *ip) error { return i.routeChange(i.node.E.AddRoute) }},
		{Name: "delete", Value: func(i *ip) error { return i.routeChange(i.node.E.DeleteRoute) }},
	}, (*ip).routeShow)
}

// routeChange reads a route and gives it to the engine's call.
func (i *ip) routeChange(f func(engine.Route) error) error {
	r, err := i.routeWords()
	if err != nil {
		return err
	}
	return f(r)
}

// routeWords reads '[TYPE] PREFIX [via A] [dev D] [onlink] …'.
func (i *ip) routeWords() (r engine.Route, err error) {
	if t, err := route.ParseType(i.args.Peek()); err == nil {
		r.Type = t
		i.args.Next()
	}
	for i.args.More() {
		word := i.args.Next()
		set, ok := words.Match(routeSettings, word)
		if !ok || word == "to" {
			if word == "to" {
				word = i.args.Next()
			}
			if r.Prefix, err = words.Prefix(word); err != nil {
				return r, err
			}
			continue
		}
		if err := set(i, &r); err != nil {
			return r, err
		}
	}
	return r, nil
}

// routeSetting reads the value of one word of a route.
type routeSetting func(i *ip, r *engine.Route) error

var routeSettings = []words.Entry[routeSetting]{
	{Name: "via", Value: func(i *ip, r *engine.Route) error {
		value, err := i.args.Value()
		if err == nil {
			r.Via, err = words.Addr(value)
		}
		return err
	}},
	{Name: "dev", Value: func(i *ip, r *engine.Route) error {
		value, err := i.args.Value()
		if r.Dev = value; err == nil && i.node.E.Index(value) == 0 {
			err = words.NoDevice(value)
		}
		return err
	}},
	{Name: "onlink", Value: func(_ *ip, r *engine.Route) error {
		r.Onlink = true
		return nil
	}},
}

func (i *ip) routeShow() error {
	for r := range i.node.E.Routes() {
		if r.Table == route.TableMain {
			i.p.Printf("%s \n", r)
		}
	}
	return nil
}
