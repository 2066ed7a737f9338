// Package lab runs network scripts in memory: bash scripts of ip, bridge, ping and tcpdump commands, on engines of package engine
// instead of the kernel, in virtual time, without privileges, and with the same result every time.
//
//	l, err := lab.New(lab.Config{Seed: 1, Stdout: os.Stdout, Stderr: os.Stderr})
//	…
//	status, err := l.Run("two.sh", `
//		ip netns add a
//		ip link add eth0 type veth peer name eth0 netns a
//		…
//		ip netns exec a ping -c 1 10.0.0.1`)
//	…
//	err = l.Close()
//
// The command lab in cmd/lab does that for a file. The same script, run by bash as root on Linux, gives the same result: that is the
// test of every word of the language. DIFFERENCES.md lists where it does not.
//
// # Real time
//
// With Config.RealTime, time goes by as outside, and nodes can have devices of the machine: kinds of ip link add that Config.Drivers
// opens. Such a node's engine is run by package runner, a goroutine for each of a driver's queues; what it has for sockets, taps and
// the lab's own wires waits in a bounded queue until all commands wait, and commands run as ever, one at a time. Lab.Session is a
// script and then a console. ping, tcpdump, trace and the others then work on real wires; command examples/node is made of that.
//
// # How it is built
//
//	cmd/lab               the command
//	lab                   Lab: a network, a scheduler, a shell and a table of commands
//	network               Network, Node (a namespace: an engine and a small host), veth pairs, sockets, taps
//	proc                  Proc (a running command), Table (commands by name), Scheduler (tasks in virtual time)
//	internal/shell        bash, by mvdan.cc/sh/v3; jobs and pipelines are the scheduler's
//	internal/words        what iproute2-like commands share: Args, Match, Answer, addresses
//	internal/sysctl       /proc/sys: Keys; internal/sysfs is /sys/class/net
//	internal/draw         the network as a picture
//	internal/cmd/TOPIC    the commands, each package with a function Commands; commands.go in this directory has the list
//
// One thing runs at a time. A background job is a goroutine, but it runs only while it has the scheduler's baton, from one wait
// (Proc.Sleep, Wait, Recv) to the next; and virtual time goes on only when all wait. So commands need no locks, and nothing in them
// may use time.Now, math/rand, goroutines, or the order of a map: the same script and seed must print the same bytes. The stages of
// a pipeline run one after the other, each to its end or to where its reader, if that is head, has enough. What the shell cannot do
// so (file descriptors above 2, coproc, PIPESTATUS) is refused before the script begins. When all wait for what will never come, they
// get a SIGINT: the user's ^C.
//
// A namespace is a network.Node; its tables are those of Node.E, the engine, to be used directly. What concerns more than one engine
// is done by Node's own methods: AddVeth, AddDummy, SetLink, MoveLink, DeleteLink. After adding any other device to an engine, call
// Node.Retap, so that tcpdump -i any sees it. Both ends of a veth pair are ports of engines (engine.KindPort), also when they are in
// one namespace; Node.Device tells the pair.
//
// Standard output, standard error and the exit status are those of the real command, to the letter. An error line that nobody has
// redirected gets the script's name and line in front ("x.sh: line 7: …"): Proc.Errorf and Fail do that. An option or word that is
// not implemented is an error as if the real command did not know it either, never ignored; accepted without effect is only what
// cannot have one here (colours, IPv6 off).
//
// # How to add a command
//
// Make a package internal/cmd/TOPIC with a function Commands, and name it in commands.go. A command is a function:
//
//	// Commands are the package's.
//	func Commands() proc.Table { return proc.Table{"beep": beep} }
//
//	// beep says beep so many times, a second apart: beep N.
//	func beep(p *proc.Proc, args []string) int {
//		if len(args) != 1 {
//			return p.Fail(2, "beep: usage: beep N") // standard error, exit status 2
//		}
//		n, err := strconv.Atoi(args[0])
//		…
//		for range n {
//			p.Printf("beep at %v in %s\n", p.Now(), p.Node.Name)
//			if err := p.Sleep(time.Second); err != nil {
//				return p.Killed(err) // or print what is printed at the end first
//			}
//		}
//		return 0
//	}
//
// To receive: p.Node.ListenUDP, ListenEcho or ListenRaw, then p.Recv(socket, deadline); see pingcmd. To see frames: p.Node.Tap(dev, f),
// where f keeps a copy and calls proc.Event.Notify, and the command waits for that event with p.Wait. To send: Socket.SendUDP,
// Node.Send, Node.SendPacket, Node.Transmit. To run another command: p.Exec(args), in another namespace p.On(node).Exec(args). To
// open a file that may be one of /proc/sys: p.Open. Errors that are to end in "RTNETLINK answers: …" go through words.Answer, those of
// a socket call through words.Errno.
//
// # How to add a word to ip
//
// An object (ip OBJECT) is an entry of objects in ipcmd/ip.go and a file; its verbs are a table in the order of iproute2's source,
// for that decides what an abbreviation means:
//
//	func (i *ip) neigh() error {
//		return i.do("neigh", verbs{
//			{Name: "add", Value: (*ip).neighAdd},
//			{Name: "show", Value: (*ip).neighShow},
//			…
//		}, (*ip).neighShow) // without a verb
//	}
//
// A verb takes its words from i.args, uses i.node.E, prints with i.p.Printf, and returns an error: words.Errorf(status, text) for
// iproute2's own texts, any error of the engine for the kernel's.
//
//	// neighShow prints '10.0.0.2 dev eth0 lladdr 02:… REACHABLE' for each neighbour.
//	func (i *ip) neighShow() error {
//		for n := range i.node.E.Neighs() {
//			i.p.Printf("%s dev %s lladdr %s %s\n", n.Addr, n.Dev, n.MAC, n.State)
//		}
//		return nil
//	}
//
// A kind of device (ip link add … type KIND) is an entry of kinds in ipcmd/linkkinds.go; a word of ip link set one of linkSettings in
// link.go; a word of a route one of routeSettings in route.go; a key of sysctl one of Keys in package sysctl.
//
// # How to test
//
// A file in testdata/scripts is a script, a line "-- want --", and what it prints (standard output and error, and "exit N" unless
// that is 0). go test -run TestScripts -update writes the latter: read it before you commit it, and hold it against the real
// commands. Scripts that only need comparing with the kernel go to testdata/diff.
//
//	# A neighbour is learned by a ping.
//	ip link add v0 type veth peer name v1
//	…
//	ip neigh show
//	-- want --
//	10.0.0.2 dev v0 lladdr 02:00:00:00:00:02 REACHABLE
package lab
