//go:build wire

package wire_test

// Processes in a namespace.

import (
	"bytes"
	"fmt"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-net/culvert/internal/netnstest"
)

// start starts a server in a namespace, and returns when it has had time to listen. The function that it returns ends it.
func start(ns *netnstest.Namespace, tool string, args ...string) (func(), error) {
	cmd := exec.Command(tool, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := ns.Do(cmd.Start); err != nil {
		return nil, err
	}
	const patience = 300 * time.Millisecond
	time.Sleep(patience)
	if cmd.Process.Signal(unix.Signal(0)) != nil {
		return nil, fmt.Errorf("%s has ended: %s", tool, &out)
	}
	return func() {
		_ = cmd.Process.Kill() // it may have ended by itself
		_ = cmd.Wait()
	}, nil
}
