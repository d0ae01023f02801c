package sys

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Nofile returns RLIMIT_NOFILE as this process was started with. The Go
// runtime raises the soft limit at start and keeps the old value to itself; it
// puts it back on the way into execve(2), and execve of no path at all fails
// behind that. The limit is raised again before Nofile returns.
func Nofile() (unix.Rlimit, error) {
	_ = syscall.Exec("", nil, nil)
	var started unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &started); err != nil {
		return started, err
	}
	raised := unix.Rlimit{Cur: started.Max, Max: started.Max}
	return started, unix.Setrlimit(unix.RLIMIT_NOFILE, &raised)
}
