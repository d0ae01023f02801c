package jail

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// inspectable says what keeps this process from looking into what it starts,
// whose calls would all be refused. It tries what can be tried before there is
// a program.
func inspectable() error {
	// Of this very process the kernel gives it, unless a filter is in the way.
	if err := getfd(); err != nil {
		return &Error{Code: ExitFailure, Text: fmt.Sprintf("sockets of other programs cannot be had: pidfd_getfd: %v", err),
			Hint: "run the container with --cap-add SYS_PTRACE (docker, podman), or netjail outside of it; netjail doctor says more"}
	}
	scope, _ := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	switch s := strings.TrimSpace(string(scope)); {
	case s == "3":
		return &Error{Code: ExitFailure, Text: "kernel.yama.ptrace_scope 3 lets nobody look into programs", Hint: "boot with kernel.yama.ptrace_scope=1 in /etc/sysctl.d"}
	case s == "2" && !canTrace():
		return &Error{Code: ExitFailure, Text: "kernel.yama.ptrace_scope 2 lets only root look into programs", Hint: "sudo sysctl kernel.yama.ptrace_scope=1"}
	}
	return nil
}

// getfd duplicates a descriptor of this process as one of another's.
func getfd() error {
	pidfd, err := unix.PidfdOpen(unix.Getpid(), 0)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	fd, err := unix.PidfdGetfd(pidfd, pidfd, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// canTrace says whether this process has CAP_SYS_PTRACE.
func canTrace() bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&hdr, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_SYS_PTRACE) != 0
}
