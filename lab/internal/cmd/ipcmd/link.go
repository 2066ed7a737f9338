package ipcmd

// ip link: what all kinds of devices have. The kinds are in linkkinds.go, what show prints in linkshow.go.

import (
	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/network"
)

func (i *ip) link() error {
	return i.do("link", verbs{
		{Name: "add", Value: (*ip).linkAdd},
		{Name: "set", Value: (*ip).linkSet},
		{Name: "delete", Value: (*ip).linkDelete},
		{Name: "show", Value: (*ip).linkShow},
		{Name: "list", Value: (*ip).linkShow},
		{Name: "lst", Value: (*ip).linkShow},
	}, (*ip).linkShow)
}

// newLink is a device that is to be made.
type newLink struct {
	engine.Link
	node   *network.Node
	kind   string
	master string
}

func (i *ip) linkAdd() error {
	l := newLink{node: i.node}
	if err := i.newLink(&l); err != nil {
		return err
	}
	make, ok := words.Match(kinds(), l.kind)
	if !ok {
		return words.Errorf(2, "Error: Unknown device type.")
	}
	if err := make(i, &l); err != nil {
		return err
	}
	if l.master != "" {
		return l.node.SetLink(l.Name, engine.LinkChange{Master: &l.master})
	}
	return nil
}

// newLink reads '[dev|name] NAME [address MAC] [mtu N] [master BRIDGE] [up] type KIND'.
func (i *ip) newLink(l *newLink) error {
	for i.args.More() {
		word := i.args.Next()
		var err error
		switch word {
		case "type":
			l.kind, err = i.args.Value()
			if err == nil && l.Name == "" && l.kind != "veth" {
				err = words.Errorf(255, `Not enough information: "dev" argument is required.`)
			}
			return err
		case "up":
			l.Up = true
		default:
			err = i.linkWord(l, word)
		}
		if err != nil {
			return err
		}
	}
	if l.kind == "" {
		return words.Errorf(255, `Not enough information: "type" argument is required`)
	}
	return nil
}

// linkWord reads one word and its value of what newLink reads.
func (i *ip) linkWord(l *newLink, word string) error {
	if word == "dev" || word == "name" {
		word = i.args.Next()
	} else if word == "address" || word == "mtu" || word == "master" || word == "txqueuelen" || word == "numtxqueues" || word == "numrxqueues" {
		return i.linkValue(l, word)
	}
	if l.Name != "" {
		return words.Errorf(255, `Error: either "dev" is duplicate, or "%s" is a garbage.`, word)
	}
	l.Name = word
	if !validName(word) {
		return words.Errorf(255, `Error: argument "%s" is wrong: "name" not a valid ifname`, word)
	}
	return nil
}

func (i *ip) linkValue(l *newLink, word string) error {
	value, err := i.args.Value()
	if err != nil {
		return err
	}
	switch word {
	case "address":
		l.MAC, err = words.MAC(value)
	case "mtu":
		var mtu uint64
		mtu, err = words.Uint(value, `"mtu" value`, 0, maxMTU)
		l.MTU = int(mtu)
	case "master":
		if l.master = value; l.node.E.Index(value) == 0 {
			err = words.Errorf(255, "Error: argument \"%s\" is wrong: Device does not exist\n", value)
		}
	}
	return err
}

const maxMTU = 65535

// validName is the kernel's dev_valid_name (net/core/dev.c).
func validName(name string) bool {
	if name == "" || len(name) > 15 || name == "." || name == ".." {
		return false
	}
	for _, r := range name {
		if r <= ' ' || r == '/' || r == ':' {
			return false
		}
	}
	return true
}

func (i *ip) linkDelete() error {
	name, err := i.device()
	if err != nil {
		return err
	}
	if name == "lo" {
		return words.Errorf(2, "RTNETLINK answers: Operation not supported")
	}
	return i.node.DeleteLink(name)
}

func (i *ip) linkSet() error {
	name, err := i.device()
	if err != nil {
		return err
	}
	for i.args.More() {
		word := i.args.Next()
		set, ok := words.Match(linkSettings, word)
		if !ok {
			return words.Errorf(255, `Error: either "dev" is duplicate, or "%s" is a garbage.`, word)
		}
		if err := set(i, &name); err != nil {
			return err
		}
	}
	return nil
}

// setting is what one word of 'ip link set' does to a device, whose name it may change.
type setting func(i *ip, name *string) error

var linkSettings = []words.Entry[setting]{
	{Name: "up", Value: func(i *ip, name *string) error { return i.change(*name, engine.LinkChange{Up: engine.Set(true)}) }},
	{Name: "down", Value: func(i *ip, name *string) error { return i.change(*name, engine.LinkChange{Up: engine.Set(false)}) }},
	{Name: "address", Value: setAddress},
	{Name: "mtu", Value: setMTU},
	{Name: "master", Value: setMaster},
	{Name: "nomaster", Value: func(i *ip, name *string) error { return i.change(*name, engine.LinkChange{Master: engine.Set("")}) }},
	{Name: "netns", Value: setNetns},
	{Name: "name", Value: setName},
	{Name: "promisc", Value: setPromisc},
}

func (i *ip) change(name string, c engine.LinkChange) error { return i.node.SetLink(name, c) }

func setAddress(i *ip, name *string) error {
	value, err := i.args.Value()
	if err != nil {
		return err
	}
	mac, err := words.MAC(value)
	if err != nil {
		return err
	}
	return i.change(*name, engine.LinkChange{MAC: &mac})
}

func setMTU(i *ip, name *string) error {
	value, err := i.args.Value()
	if err != nil {
		return err
	}
	mtu, err := words.Uint(value, `"mtu" value`, 0, maxMTU)
	if err != nil {
		return err
	}
	return i.change(*name, engine.LinkChange{MTU: engine.Set(int(mtu))})
}

func setMaster(i *ip, name *string) error {
	value, err := i.args.Value()
	if err != nil {
		return err
	}
	if i.node.E.Index(value) == 0 {
		return words.Errorf(255, `Error: argument "%s" is wrong: Device does not exist`, value)
	}
	return i.change(*name, engine.LinkChange{Master: &value})
}

func setNetns(i *ip, name *string) error {
	value, err := i.args.Value()
	if err != nil {
		return err
	}
	to := i.p.Sys.Net.Node(value)
	if value == "1" {
		to = i.p.Sys.Net.Default() // the namespace of process 1
	}
	if to == nil {
		return words.Errorf(255, `Error: argument "%s" is wrong: Invalid "netns" value`, value)
	}
	return i.node.MoveLink(*name, to)
}

func setName(i *ip, name *string) error {
	value, err := i.args.Value()
	if err != nil {
		return err
	}
	if !validName(value) {
		return words.Errorf(255, `Error: argument "%s" is wrong: "name" not a valid ifname`, value)
	}
	if err := i.change(*name, engine.LinkChange{Name: &value}); err != nil {
		return err
	}
	*name = value
	return nil
}

func setPromisc(i *ip, name *string) error {
	value, err := i.args.Value()
	if err != nil {
		return err
	}
	on, err := words.OnOff(value, "promisc")
	if err != nil {
		return err
	}
	return i.change(*name, engine.LinkChange{Promisc: &on})
}
