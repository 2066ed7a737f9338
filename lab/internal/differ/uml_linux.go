package differ

// A second kernel: User-Mode Linux, which has the kinds of device that the machine's own kernel may lack. It is an ordinary
// process, and needs no root: the machine's files, tools included, are its root file system, read-only, and the script's
// directory is the only thing that it can write.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// UML runs scripts with bash and the real tools on User-Mode Linux (Debian package user-mode-linux, and kmod).
type UML struct{}

const umlKernel = "linux.uml"

// umlInit is the first process: it loads the modules from where the package puts them, runs the script, and powers off. The
// words in capitals are replaced.
const umlInit = `#!/bin/bash
export ENVIRONMENT
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /run
mount -t hostfs none /mnt -o DIRECTORY
mkdir -p /run/modules/lib
ln -s /usr/lib/uml/modules /run/modules/lib/modules
for m in veth bridge vxlan ipip dummy sch_netem; do modprobe -d /run/modules $m; done
cd /mnt
bash "$(cat NAME)" >OUTPUT 2>ERRORS
echo $? >EXIT
poweroff -ff
`

// Files in the script's directory by which the first process tells the result.
const (
	umlName   = ".name"
	umlOutput = ".output"
	umlErrors = ".errors"
	umlExit   = ".exit"
)

// Run runs a script. It returns an error that wraps [errors.ErrUnsupported] if there is no User-Mode Linux.
func (UML) Run(s Script) (Result, error) {
	kernel, err := exec.LookPath(umlKernel)
	if err != nil {
		return Result{}, fmt.Errorf("%w: User-Mode Linux (Debian package user-mode-linux): %w", errors.ErrUnsupported, err)
	}
	dir, err := scriptDir(s)
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	init := strings.NewReplacer("ENVIRONMENT", strings.Join(environment("/mnt"), " "), "DIRECTORY", dir,
		"NAME", umlName, "OUTPUT", umlOutput, "ERRORS", umlErrors, "EXIT", umlExit).Replace(umlInit)
	const executable = 0o755
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, umlName), []byte(s.Name), 0o644),
		os.WriteFile(filepath.Join(dir, ".init"), []byte(init), executable),
	); err != nil {
		return Result{}, err
	}

	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, kernel, "mem=192M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro",
		"init="+filepath.Join(dir, ".init"), "con0=null,fd:1", "con=null", "quiet", "panic=-1")
	var console bytes.Buffer
	cmd.Stdout, cmd.Stderr = &console, &console
	cmd.Env = append(os.Environ(), "TMPDIR="+dir) // for the file that is its memory
	// It consists of several processes.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Run(); err != nil {
		return Result{}, fmt.Errorf("%s: %s: %w; its console:\n%s", s.Name, umlKernel, err, &console)
	}
	return umlResult(dir)
}

// umlResult reads what the first process left.
func umlResult(dir string) (Result, error) {
	output, err1 := os.ReadFile(filepath.Join(dir, umlOutput))
	errs, err2 := os.ReadFile(filepath.Join(dir, umlErrors))
	exit, err3 := os.ReadFile(filepath.Join(dir, umlExit))
	if err := errors.Join(err1, err2, err3); err != nil {
		return Result{}, err
	}
	status, err := strconv.Atoi(strings.TrimSpace(string(exit)))
	if err != nil {
		return Result{}, err
	}
	r := Result{Output: string(output), Errors: string(errs), Exit: status}
	r.Captures, err = Captures(dir)
	return r, err
}
