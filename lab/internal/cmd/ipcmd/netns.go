package ipcmd

// ip netns (ip/ipnetns.c).

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/culvert-net/culvert/engine"
	"github.com/culvert-net/culvert/lab/internal/words"
	"github.com/culvert-net/culvert/lab/network"
)

func (i *ip) netns() error {
	if i.args.More() && !i.all {
		verb := i.args.Next()
		if name := i.args.Peek(); i.args.More() && !validNamespace(name) {
			return words.Errorf(255, `Invalid netns name "%s"`, name)
		}
		i.args.Back(verb)
	}
	return i.do("netns", verbs{
		{Name: "list", Value: (*ip).netnsList},
		{Name: "show", Value: (*ip).netnsList},
		{Name: "lst", Value: (*ip).netnsList},
		{Name: "list-id", Value: (*ip).netnsListID},
		{Name: "help", Value: func(*ip) error { return help(usageNetns) }},
		{Name: "add", Value: (*ip).netnsAdd},
		{Name: "set", Value: (*ip).netnsSet},
		{Name: "delete", Value: (*ip).netnsDelete},
		{Name: "identify", Value: (*ip).netnsIdentify},
		{Name: "pids", Value: (*ip).netnsPids},
		{Name: "exec", Value: (*ip).netnsExec},
		{Name: "monitor"},
		{Name: "attach"},
	}, (*ip).netnsList)
}

func validNamespace(name string) bool {
	const longest = 255 // NAME_MAX
	return name != "" && len(name) <= longest && !strings.Contains(name, "/") && name != "." && name != ".."
}

// namespaces returns the nodes that have names, the newest first: iproute2 reads the directory /run/netns, a tmpfs, whose newest
// entry comes first.
func (i *ip) namespaces() []*network.Node {
	var named []*network.Node
	for _, n := range slices.Backward(i.p.Sys.Net.Nodes()) {
		if n.Name != network.Default {
			named = append(named, n)
		}
	}
	return named
}

func (i *ip) netnsList() error {
	for _, n := range i.namespaces() {
		i.p.Printf("%s", n.Name)
		if id, ok := i.node.ID(n); ok {
			i.p.Printf(" (id: %d)", id)
		}
		i.p.Printf("\n")
	}
	return nil
}

func (i *ip) netnsListID() error {
	if i.args.More() {
		return unsupported("ip netns list-id " + i.args.Peek())
	}
	var known []*network.Node
	for _, n := range i.p.Sys.Net.Nodes() {
		if _, ok := i.node.ID(n); ok {
			known = append(known, n)
		}
	}
	id := func(n *network.Node) int {
		id, _ := i.node.ID(n)
		return id
	}
	slices.SortFunc(known, func(a, b *network.Node) int { return cmp.Compare(id(a), id(b)) })
	for _, n := range known {
		i.p.Printf("nsid %d ", id(n))
		if n.Name != network.Default {
			i.p.Printf("(iproute2 netns name: %s)", n.Name)
		}
		i.p.Printf("\n")
	}
	return nil
}

func (i *ip) netnsAdd() error {
	name := i.args.Next()
	if name == "" {
		return words.Errorf(1, "No netns name specified")
	}
	if name == network.Default {
		return unsupported("a namespace with the name " + name)
	}
	_, err := i.p.Sys.Net.AddNode(name)
	if errors.Is(err, engine.ErrExists) {
		return words.Errorf(1, `Cannot create namespace file "/run/netns/%s": File exists`, name)
	}
	return err
}

func (i *ip) netnsSet() error {
	name, id := i.args.Next(), i.args.Next()
	switch {
	case name == "":
		return words.Errorf(1, "No netns name specified")
	case id == "":
		return words.Errorf(1, "No nsid specified")
	}
	n, ok := number(id, 31)
	if !ok && id != "auto" {
		return wrong(id, `Invalid "netnsid" value`)
	}
	node := i.namespace(name)
	if node == nil {
		return words.Errorf(1, `Cannot open network namespace "%s": No such file or directory`, name)
	}
	if _, has := i.node.ID(node); has {
		return extack("Nsid already exists.")
	}
	if id == "auto" {
		for n = 0; !i.node.SetID(node, int(n)); n++ {
		}
		return nil
	}
	if !i.node.SetID(node, int(n)) {
		return extack("Nsid is already used.")
	}
	return nil
}

func (i *ip) netnsDelete() error {
	if i.all {
		for _, n := range i.namespaces() {
			if err := i.p.Sys.Net.DeleteNode(n.Name); err != nil {
				return err
			}
		}
		return nil
	}
	name := i.args.Next()
	if name == "" {
		return words.Errorf(1, "No netns name specified")
	}
	if err := i.p.Sys.Net.DeleteNode(name); err != nil {
		return words.Errorf(1, `Cannot remove namespace file "/run/netns/%s": No such file or directory`, name)
	}
	return nil
}

// netnsIdentify tells the caller's namespace. Which one a process is in that is named by its number the lab does not know.
func (i *ip) netnsIdentify() error {
	pid := i.args.Next()
	switch _, ok := number(pid, 64); {
	case i.args.More():
		return words.Errorf(1, "extra arguments specified")
	case pid != "" && !ok:
		return words.Errorf(1, "Specified string '%s' is not a pid", pid)
	case pid != "":
		return unsupported("ip netns identify PID")
	}
	name := i.node.Name
	if name == network.Default {
		name = ""
	}
	i.p.Printf("%s\n", name)
	return nil
}

// netnsPids prints nothing: see netnsIdentify.
func (i *ip) netnsPids() error {
	name := i.args.Next()
	switch {
	case name == "":
		return words.Errorf(1, "No netns name specified")
	case i.args.More():
		return words.Errorf(1, "extra arguments specified")
	case i.namespace(name) == nil:
		return words.Errorf(1, "Cannot open network namespace: No such file or directory")
	}
	return unsupported("ip netns pids")
}

func (i *ip) netnsExec() error {
	if i.all {
		return i.netnsExecAll()
	}
	name := i.args.Next()
	if name == "" {
		return words.Errorf(1, "No netns name specified")
	}
	if !i.args.More() {
		return words.Errorf(1, "No command specified")
	}
	node := i.namespace(name)
	if node == nil {
		return words.Errorf(255, `Cannot open network namespace "%s": No such file or directory`, name)
	}
	command := i.args.Rest()
	if !i.p.Knows(command[0]) {
		return words.Errorf(1, `exec of "%s" failed: No such file or directory`, command[0])
	}
	if status := i.p.On(node).Exec(command); status != 0 {
		return exitStatus(status)
	}
	return nil
}

// netnsExecAll runs a command in each namespace, whatever comes of it.
func (i *ip) netnsExecAll() error {
	if !i.args.More() {
		return words.Errorf(1, "No command specified")
	}
	command := i.args.Rest()
	for _, n := range i.namespaces() {
		i.p.Printf("\nnetns: %s\n", n.Name)
		i.p.On(n).Exec(command)
	}
	return nil
}
