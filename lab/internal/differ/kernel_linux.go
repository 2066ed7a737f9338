package differ

// The kernel's side: bash in namespaces of its own. They are the first process's, so that nothing that a script starts,
// mounts or makes can outlive it: when that process ends the kernel kills all others, and the namespaces go with them.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// Kernel runs scripts with bash and the real tools on this machine's kernel. It needs root.
type Kernel struct{}

// setup makes the new namespaces usable, then runs the script: /run is where `ip netns` keeps its names, and the sysfs of
// the outer namespace would show brctl the outer bridges.
const setup = `set -e
mount --make-rprivate /
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
set +e
bash "$1"
exit $?`

// Run runs a script. It returns an error that wraps [errors.ErrUnsupported] if the machine lacks what it takes.
func (Kernel) Run(s Script) (Result, error) {
	dir, err := scriptDir(s)
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()

	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", setup, "setup", s.Name)
	cmd.Dir = dir
	cmd.Env = environment(dir)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
	}
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return Result{}, fmt.Errorf("%s: still running after %v; so far it printed:\n%s%s", s.Name, Patience, &stdout, &stderr)
	case errors.Is(err, syscall.EPERM):
		return Result{}, fmt.Errorf("%w: namespaces (CAP_SYS_ADMIN): %w", errors.ErrUnsupported, err)
	case err != nil && !errors.As(err, &exit):
		return Result{}, fmt.Errorf("%w: bash: %w", errors.ErrUnsupported, err)
	}
	r := Result{Output: stdout.String(), Errors: stderr.String(), Exit: cmd.ProcessState.ExitCode()}
	r.Captures, err = Captures(dir)
	return r, err
}

// scriptDir makes a directory with the script in it, for the script to run in. The caller removes it.
func scriptDir(s Script) (string, error) {
	dir, err := os.MkdirTemp("", "differ")
	if err != nil {
		return "", err
	}
	const everybody = 0o777 // tcpdump gives up root before it opens its file
	if err := errors.Join(os.Chmod(dir, everybody), os.WriteFile(filepath.Join(dir, s.Name), []byte(s.Text), 0o644)); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

// environment is the environment of a script that runs in dir.
func environment(dir string) []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + dir, "TMPDIR=" + dir, "LC_ALL=C", "TZ=UTC",
		"NSTAT_HISTORY=" + filepath.Join(dir, ".nstat"),
	}
}
