package netnstest

// Namespaces: one is a file descriptor. Namespaces belong to threads, and the Go scheduler moves goroutines between
// threads, so whatever must happen in a namespace happens on a thread that enters it and is never used again.

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Require is the environment variable that makes tests fail, instead of being skipped, where they cannot run: 1 in CI.
const Require = "CULVERT_REQUIRE_NETNS"

// Missing skips tb, or fails it if [Require] is set, because the machine lacks something.
func Missing(tb testing.TB, what string) {
	tb.Helper()
	if os.Getenv(Require) == "1" {
		tb.Fatalf("missing: %s (and %s=1)", what, Require)
	} else {
		tb.Skipf("missing: %s", what)
	}
}

// Namespace is a network namespace of the test's own. It has a loopback device, down, and nothing else.
type Namespace struct {
	file *os.File
}

// New returns a new namespace, which is gone at the end of the test with all that is in it. Call it inside of [Run].
func New(tb testing.TB) *Namespace {
	tb.Helper()
	var file *os.File
	err := onNewThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		Missing(tb, fmt.Sprintf("network namespaces (CAP_SYS_ADMIN): %v", err))
	}
	tb.Cleanup(func() { _ = file.Close() })
	return &Namespace{file}
}

// Do calls f inside the namespace, on a thread of its own. Sockets that f opens and processes that it starts belong to the
// namespace for good. f runs on another goroutine than the test, so it must not call FailNow.
func (ns *Namespace) Do(f func() error) error {
	return onNewThread(func() error {
		if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("setns", err)
		}
		return f()
	})
}

// onNewThread calls f on a thread that ends with it, because its goroutine ends without unlocking it.
func onNewThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

// IP runs the ip tool (iproute2) in the namespace, with the words of args, and returns what it prints. A kind of device
// that the kernel has not got is reported by [Missing]; any other failure fails the test.
func (ns *Namespace) IP(tb testing.TB, args string) string {
	tb.Helper()
	return ns.run(tb, nil, "ip", strings.Fields(args)...)
}

// Bridge is [Namespace.IP] for the bridge tool.
func (ns *Namespace) Bridge(tb testing.TB, args string) string {
	tb.Helper()
	return ns.run(tb, nil, "bridge", strings.Fields(args)...)
}

// Tool runs a tool in the namespace, and returns what it prints.
func (ns *Namespace) Tool(tb testing.TB, tool string, args ...string) string {
	tb.Helper()
	return ns.run(tb, nil, tool, args...)
}

// Move moves a device to another namespace.
func (ns *Namespace) Move(tb testing.TB, device string, to *Namespace) {
	tb.Helper()
	const firstExtra = "/proc/self/fd/3"
	ns.run(tb, to.file, "ip", "link", "set", device, "netns", firstExtra)
}

// Up sets a device up. It gets no link-local IPv6 address, whose announcements would be on the wire at any time.
func (ns *Namespace) Up(tb testing.TB, device string) {
	tb.Helper()
	ns.IP(tb, "link set "+device+" addrgenmode none") // in one command with 'up' it comes too late
	ns.IP(tb, "link set "+device+" up")
}

// End is one end of a veth pair.
type End struct {
	Namespace *Namespace
	Device    string // its name; not one that ip could take for a word of its own
	MAC       string
}

// Veth joins two namespaces by a veth pair, and returns when frames pass in both directions.
func Veth(tb testing.TB, a, b End) {
	tb.Helper()
	// Made in one namespace they differ in their index. Otherwise the kernel takes its time to see that they are connected:
	// linkwatch_urgent_event in net/core/link_watch.c.
	a.Namespace.IP(tb, "link add "+a.Device+" address "+a.MAC+" type veth peer name "+b.Device+" address "+b.MAC)
	a.Namespace.Move(tb, b.Device, b.Namespace)
	for _, e := range []End{a, b} {
		e.Namespace.Up(tb, e.Device)
	}
	for _, e := range []End{a, b} {
		e.Namespace.await(tb, e.Device)
	}
}

// await waits until a device, which is up, sends what it is given. The kernel notices in the background that the other end
// of a veth pair has come up too, and drops what is sent before.
func (ns *Namespace) await(tb testing.TB, device string) {
	tb.Helper()
	for deadline := time.Now().Add(patience * time.Second); ; {
		var running bool
		if err := ns.Do(func() error {
			dev, err := net.InterfaceByName(device)
			running = err == nil && dev.Flags&net.FlagRunning != 0
			return err
		}); err != nil {
			tb.Fatalf("%s: %v", device, err)
		}
		if running {
			break
		}
		if time.Now().After(deadline) {
			tb.Fatalf("%s is not running after %d seconds", device, patience)
		}
	}
	// The flag is set first. Who changes a device has to wait for the lock under which the rest is done.
	ns.IP(tb, "link set "+device+" up")
}

// patience bounds how long a test waits for what must come, in seconds. Only a failing test waits so long.
const patience = 10

// run runs a tool in the namespace. extra, if not nil, is its file 3.
func (ns *Namespace) run(tb testing.TB, extra *os.File, tool string, args ...string) string {
	tb.Helper()
	cmd := exec.Command(find(tb, tool), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if extra != nil {
		cmd.ExtraFiles = []*os.File{extra}
	}
	if err := ns.Do(cmd.Run); err != nil {
		for lack, what := range map[string]string{
			"Unknown device type":     "kernel support",
			"Operation not supported": "kernel support",
			"Operation not permitted": "CAP_NET_ADMIN",
		} {
			if strings.Contains(stderr.String(), lack) {
				Missing(tb, fmt.Sprintf("%s for %q: %s", what, cmd.Args[1:], strings.TrimSpace(stderr.String())))
			}
		}
		tb.Fatalf("%s: %v: %s", cmd, err, &stderr)
	}
	return stdout.String()
}

// find returns the path of a tool. The directories for administrators are often not in the path of other users.
func find(tb testing.TB, tool string) string {
	tb.Helper()
	path, err := exec.LookPath(tool)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if errors.Is(err, exec.ErrNotFound) {
			path, err = exec.LookPath(filepath.Join(dir, tool))
		}
	}
	if err != nil {
		Missing(tb, fmt.Sprintf("the tool %s (Debian package iproute2): %v", tool, err))
	}
	return path
}
