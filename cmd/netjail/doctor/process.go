package doctor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// stand is a helper with another one below it, as a supervisor has the program
// below the keeper. It prints that one's process id.
func stand(stdout io.Writer) error {
	cmd := exec.Command(self)
	cmd.Args = []string{HelperName, "leaf"}
	cmd.Stdin = os.Stdin // both end when this does
	if err := cmd.Start(); err != nil {
		return err
	}
	fmt.Fprintln(stdout, cmd.Process.Pid)
	return cmd.Wait()
}

// onGrandchild calls f with the process id of a process that a child of this
// one has started.
func onGrandchild(ctx context.Context, f func(pid int) error) error {
	cmd := helper(ctx, "stand")
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer cmd.Wait()
	defer in.Close()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("the helper says nothing: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return err
	}
	return f(pid)
}

// getfd duplicates a descriptor of another process, and closes it.
func getfd(pid, fd int) error {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("pidfd_open: %w", err)
	}
	defer unix.Close(pidfd)
	dup, err := unix.PidfdGetfd(pidfd, fd, 0)
	if err != nil {
		return fmt.Errorf("pidfd_getfd: %w", err)
	}
	return unix.Close(dup)
}

func tryGetfd(ctx context.Context, v *visit) Result {
	err := onGrandchild(ctx, func(pid int) error { return getfd(pid, 0) })
	if err != nil {
		return unreadable(v, err)
	}
	return ok("sockets of what runs below can be duplicated")
}

func tryMemory(ctx context.Context, v *visit) Result {
	if err := onGrandchild(ctx, readMemory); err != nil {
		return unreadable(v, err)
	}
	return ok("memory of what runs below can be read")
}

// readMemory reads the beginning of a process's executable in its memory.
func readMemory(pid int) error {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return err
	}
	start, _, _ := strings.Cut(string(maps), "-")
	at, err := strconv.ParseUint(start, 16, 64)
	if err != nil {
		return fmt.Errorf("/proc/%d/maps: %w", pid, err)
	}
	var b [4]byte
	local := unix.Iovec{Base: &b[0]}
	local.SetLen(len(b))
	n, err := unix.ProcessVMReadv(pid, []unix.Iovec{local}, []unix.RemoteIovec{{Base: uintptr(at), Len: len(b)}}, 0)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		if readFile(pid, b[:], int64(at)) == nil {
			return nil // and so does interpose
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("process_vm_readv: %w", err)
	case n != len(b):
		return fmt.Errorf("process_vm_readv: %d bytes", n)
	}
	return nil
}

// readFile reads memory as a file.
func readFile(pid int, b []byte, at int64) error {
	f, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.ReadAt(b, at)
	return err
}

// unreadable is what to do about a process that cannot be looked into.
func unreadable(v *visit, err error) Result {
	fix := "a seccomp filter or a security module around this process forbids it: run netjail outside of it"
	switch c := v.container(); {
	case errors.Is(err, unix.ENOSYS):
		fix = "Linux 5.10 has it"
	case v.word(yamaScope) == "2":
		fix = "sudo sysctl kernel.yama.ptrace_scope=1"
	case v.word(yamaScope) == "3":
		fix = "boot with kernel.yama.ptrace_scope=1 in /etc/sysctl.d: a running system does not go back from 3"
	case c == "docker" || c == "podman":
		// Their profiles allow it to containers that have the capability.
		fix = c + " run --cap-add SYS_PTRACE …"
	}
	return fails(err.Error(), fix)
}

const yamaScope = "/proc/sys/kernel/yama/ptrace_scope"

// tryYama says what Yama means here; whether that is so, others try.
func tryYama(_ context.Context, v *visit) Result {
	switch scope := v.word(yamaScope); scope {
	case "":
		return ok("not there: processes of one user may look into each other, unless Landlock forbids it")
	case "0":
		return ok("0: processes of one user may look into each other, unless Landlock forbids it")
	case "1":
		return ok("1: a process may look into what it started, as netjail does")
	case "2":
		return ok("2: only root may look into processes")
	default:
		return ok(scope + ": nobody may look into processes")
	}
}
