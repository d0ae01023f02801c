package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// HelperName is the name under which netjail tries things that need a process
// of their own: main must call Help when it is started so.
const HelperName = "netjail: doctor"

// self is the executable that helpers are.
const self = "/proc/self/exe"

// Help is a helper with these arguments, and returns what to exit with.
func Help(args []string, stdout io.Writer) int {
	if len(args) == 0 {
		return 2
	}
	var report any
	var err error
	switch args[0] {
	case "jail":
		report = supervise(args[1:])
	case "victim":
		err = suffer(args[1:])
	case "stand":
		err = stand(stdout)
	case "leaf":
		_, err = io.Copy(io.Discard, os.Stdin)
	case "loopback":
		err = loopbackUp()
	default:
		return 2
	}
	if report != nil {
		err = json.NewEncoder(stdout).Encode(report)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// helper returns a helper that was not started and ends with ctx.
func helper(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, self)
	cmd.Args = append([]string{HelperName}, args...)
	cmd.WaitDelay = grace / 2 // for its output, once it was killed
	return cmd
}

// output runs a command, and returns what it prints. An error says why.
func output(cmd *exec.Cmd) ([]byte, error) {
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		if why, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n"); why != "" {
			err = errors.New(why)
		}
	}
	return out.Bytes(), err
}

// runTrial has a helper run a jail.
func runTrial(ctx context.Context, inside bool) (t jailTrial) {
	if inside {
		return jailTrial{Nested: true}
	}
	ctx, cancel := context.WithTimeout(ctx, slowWait)
	defer cancel()
	out, err := output(helper(ctx, "jail", fmt.Sprint(unix.Getpid())))
	if err == nil {
		err = json.Unmarshal(out, &t)
	}
	if err != nil {
		return jailTrial{Failed: "it was not tried: " + err.Error()}
	}
	return t
}

// inNamespaces makes a helper run in user and network namespaces of its own,
// where it is root.
func inNamespaces(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
}

// loopbackUp sets lo up, as root of a network namespace can. AppArmor may give
// a program the namespace, and no rights in it.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}
