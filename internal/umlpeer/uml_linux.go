package umlpeer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-net/culvert/internal/netnstest"
)

const (
	kernel  = "linux.uml"
	modules = "/usr/lib/uml/modules"

	patience = 60 * time.Second // for a machine with other things to do
	poll     = 20 * time.Millisecond
)

// Peer is a running kernel.
type Peer struct {
	dir     string
	done    chan struct{} // closed when it has ended
	console *os.File
}

// initScript is the first process: it loads modules, runs the script, then each command that is put into the directory. The words in
// capitals are replaced.
const initScript = `#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t hostfs none /mnt -o DIRECTORY
mkdir -p /run/modules/lib
ln -s MODULES /run/modules/lib/modules
for m in veth bridge vxlan ipip dummy; do modprobe -d /run/modules $m; done
ip link set lo up
cd /mnt
bash -e script >output 2>&1
echo $? >status
mv status exit
for ((n = 1; ; n++)); do
	until [ -e command.$n ]; do sleep 0.02; done
	bash command.$n >output.$n 2>&1
	echo $? >status.$n
	mv status.$n exit.$n
done
`

// Start boots the kernel in a namespace on one end of each of some veth pairs, which inside are vec0 and so on, and returns when the
// script, of bash, has run there. It ends with the test.
func Start(tb testing.TB, ns *netnstest.Namespace, script string, devices ...string) *Peer {
	tb.Helper()
	path := find(tb)
	p := &Peer{dir: tb.TempDir(), done: make(chan struct{})}
	first := strings.NewReplacer("DIRECTORY", p.dir, "MODULES", modules).Replace(initScript)
	const executable = 0o755
	write(tb, filepath.Join(p.dir, "init"), first, executable)
	write(tb, filepath.Join(p.dir, "script"), script, executable)
	var err error
	if p.console, err = os.Create(filepath.Join(p.dir, "console")); err != nil {
		tb.Fatal(err)
	}
	args := []string{
		"mem=128M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "init=" + filepath.Join(p.dir, "init"),
		"con0=null,fd:1", "con=null", "quiet", "panic=-1",
	}
	for i, device := range devices {
		plain(tb, ns, device)
		args = append(args, fmt.Sprintf("vec%d:transport=raw,ifname=%s,depth=128,mac=02:00:00:00:91:%02x", i, device, i+1))
	}
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = p.console, p.console
	cmd.Env = append(os.Environ(), "TMPDIR="+p.dir)       // for the file that is its memory
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it consists of several processes
	if err := ns.Do(cmd.Start); err != nil {
		tb.Fatalf("%s: %v", kernel, err)
	}
	go func() {
		_ = cmd.Wait() // it is killed
		close(p.done)
	}()
	tb.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
		_ = p.console.Close()
	})
	if status, out := p.await(tb, "exit", "output"); status != 0 {
		tb.Fatalf("the script ends with %d:\n%s", status, out)
	}
	return p
}

// find returns the path of the kernel.
func find(tb testing.TB) string {
	tb.Helper()
	path, err := exec.LookPath(kernel)
	if err != nil {
		netnstest.Missing(tb, fmt.Sprintf("User-Mode Linux (Debian package user-mode-linux): %v", err))
	}
	for _, dir := range []string{"", "/usr/sbin/", "/sbin/"} {
		if _, err := exec.LookPath(dir + "modprobe"); err == nil {
			return path
		}
	}
	netnstest.Missing(tb, "the tool modprobe (Debian package kmod)")
	return ""
}

// plain switches off what the kernel would leave to a network card at this end of a veth.
func plain(tb testing.TB, ns *netnstest.Namespace, device string) {
	tb.Helper()
	tool, err := exec.LookPath("ethtool")
	if err != nil {
		if tool, err = exec.LookPath("/usr/sbin/ethtool"); err != nil {
			netnstest.Missing(tb, fmt.Sprintf("the tool ethtool (Debian package ethtool): %v", err))
		}
	}
	cmd := exec.Command(tool, "-K", device, "tx", "off", "tso", "off", "gso", "off", "gro", "off")
	if err := ns.Do(cmd.Run); err != nil {
		tb.Fatalf("%s: %v", cmd, err)
	}
}

func write(tb testing.TB, path, text string, mode os.FileMode) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		tb.Fatal(err)
	}
}

// Run runs a command of bash inside, and returns what it prints and its exit status. One at a time.
func (p *Peer) Run(tb testing.TB, command string) (output string, status int) {
	tb.Helper()
	n := 1
	for ; ; n++ {
		if _, err := os.Stat(filepath.Join(p.dir, fmt.Sprintf("command.%d", n))); err != nil {
			break
		}
	}
	part := filepath.Join(p.dir, "part")
	write(tb, part, command, 0o644)
	if err := os.Rename(part, filepath.Join(p.dir, fmt.Sprintf("command.%d", n))); err != nil { // all of it at once
		tb.Fatal(err)
	}
	status, output = p.await(tb, fmt.Sprintf("exit.%d", n), fmt.Sprintf("output.%d", n))
	return output, status
}

// await waits for the file with an exit status, and returns that and the output.
func (p *Peer) await(tb testing.TB, exit, output string) (status int, out string) {
	tb.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(poll) {
		text, err := os.ReadFile(filepath.Join(p.dir, exit))
		if err == nil {
			if _, err := fmt.Sscan(string(text), &status); err != nil {
				tb.Fatalf("exit status %q: %v", text, err)
			}
			o, err := os.ReadFile(filepath.Join(p.dir, output))
			if err != nil {
				tb.Fatal(err)
			}
			return status, string(o)
		}
		select {
		case <-p.done:
			tb.Fatalf("%s has ended; its console:\n%s", kernel, p.log())
		default:
		}
		if time.Now().After(end) {
			tb.Fatalf("%s has not come to write %s in %v; its console:\n%s", kernel, exit, patience, p.log())
		}
	}
}

func (p *Peer) log() string {
	text, _ := os.ReadFile(p.console.Name())
	return string(text)
}
