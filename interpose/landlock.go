package interpose

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose/internal/sys"
)

// Landlock says whether programs are started in a Landlock domain of their own,
// which a kernel of 6.7 or newer enforces: they can then attach to no process
// outside of it (ptrace, process_vm_writev, pidfd_getfd), whatever Yama says,
// and neither connect nor bind a TCP socket by themselves; the supervisor, which
// is outside, does that on their sockets. From 6.12 on they can send no signal
// out of it.
func Landlock() bool { return landlockAttr(sys.LandlockABI()) != nil }

// landlockAttr is the domain to make where the kernel has this ABI, or nil. It
// handles rights and grants none.
func landlockAttr(abi int) *unix.LandlockRulesetAttr {
	if abi < 4 {
		return nil // no rights but those on files, which are none of our business
	}
	a := &unix.LandlockRulesetAttr{
		Handled_access_net: unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP,
	}
	if abi >= 6 {
		a.Scoped = unix.LANDLOCK_SCOPE_SIGNAL
	}
	return a
}

// landlockRuleset returns a descriptor of the domain to be, or -1.
func landlockRuleset() (int, error) {
	attr := landlockAttr(sys.LandlockABI())
	if attr == nil {
		return -1, nil
	}
	fd, errno := sys.LandlockCreateRuleset(attr)
	if errno != 0 {
		return -1, fmt.Errorf("landlock_create_ruleset: %w", errno)
	}
	return fd, nil
}
