package ipcmd

// ip netns.

import (
	"errors"
	"slices"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/network"
)

func (i *ip) netns() error {
	return i.do("netns", verbs{
		{Name: "list", Value: (*ip).netnsList},
		{Name: "show", Value: (*ip).netnsList},
		{Name: "lst", Value: (*ip).netnsList},
		{Name: "add", Value: (*ip).netnsAdd},
		{Name: "delete", Value: (*ip).netnsDelete},
		{Name: "exec", Value: (*ip).netnsExec},
	}, (*ip).netnsList)
}

// netnsList prints the newest first: iproute2 reads the directory /var/run/netns, a tmpfs, whose newest entry comes first.
func (i *ip) netnsList() error {
	for _, n := range slices.Backward(i.p.Sys.Net.Nodes()) {
		if n.Name != network.Default {
			i.p.Printf("%s\n", n.Name)
		}
	}
	return nil
}

func (i *ip) netnsAdd() error {
	name := i.args.Next()
	if name == "" {
		return words.Errorf(255, "No netns name specified")
	}
	_, err := i.p.Sys.Net.AddNode(name)
	if errors.Is(err, engine.ErrExists) {
		return words.Errorf(1, `Cannot create namespace file "/var/run/netns/%s": File exists`, name)
	}
	return err
}

func (i *ip) netnsDelete() error {
	name := i.args.Next()
	if name == "" {
		return words.Errorf(255, "No netns name specified")
	}
	if err := i.p.Sys.Net.DeleteNode(name); err != nil {
		return words.Errorf(1, `Cannot remove namespace file "/var/run/netns/%s": No such file or directory`, name)
	}
	return nil
}

func (i *ip) netnsExec() error {
	name := i.args.Next()
	if name == "" {
		return words.Errorf(255, "No netns name specified")
	}
	node := i.p.Sys.Net.Node(name)
	if node == nil || name == network.Default {
		return words.Errorf(255, `Cannot open network namespace "%s": No such file or directory`, name)
	}
	if !i.args.More() {
		return words.Errorf(255, "No command specified")
	}
	if status := i.p.On(node).Exec(i.args.Rest()); status != 0 {
		return exitStatus(status)
	}
	return nil
}
