package interpose

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose/internal/sys"
)

// Domain says what the Landlock domain that a program is started in leaves
// alone. The zero value leaves nothing alone that this kernel can refuse.
//
// All that runs in the jail is in the domain, and can attach to no process
// outside of it (ptrace, process_vm_writev, pidfd_getfd), whatever Yama says.
// The supervisor is outside: what it does on a duplicate is not refused.
type Domain struct {
	None     bool // there is no domain
	Sockets  bool // TCP and UDP, because another guard has them and the kernel may perform calls
	Abstract bool // abstract AF_UNIX sockets of others
	Signals  bool // signals to others
}

// Landlock returns the version of the interface that the kernel has, 0 where it
// has none, and which errata are fixed in it: bit 0 is erratum 1. See
// landlock(7).
func Landlock() (abi, errata int) {
	return sys.Landlock(unix.LANDLOCK_CREATE_RULESET_VERSION), sys.Landlock(unix.LANDLOCK_CREATE_RULESET_ERRATA)
}

// Ruleset is what d refuses where the kernel has this ABI; all zero: there is no
// domain then. It handles rights and grants none, so what it handles is refused.
// Rights on files are none of our business.
//
// No erratum so far (security/landlock/errata) takes anything from it. The
// second one, signals between threads, is about threads in different domains:
// the program enters its domain as its only thread.
func (d Domain) Ruleset(abi int) (a unix.LandlockRulesetAttr) {
	handle := func(since int, leave bool, field *uint64, rights uint64) {
		if abi >= since && !leave && !d.None {
			*field |= rights
		}
	}
	handle(4, d.Sockets, &a.Handled_access_net, unix.LANDLOCK_ACCESS_NET_BIND_TCP|unix.LANDLOCK_ACCESS_NET_CONNECT_TCP)       // Linux 6.7
	handle(6, d.Abstract, &a.Scoped, unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET)                                                // Linux 6.12
	handle(6, d.Signals, &a.Scoped, unix.LANDLOCK_SCOPE_SIGNAL)                                                               // Linux 6.12
	handle(10, d.Sockets, &a.Handled_access_net, unix.LANDLOCK_ACCESS_NET_BIND_UDP|unix.LANDLOCK_ACCESS_NET_CONNECT_SEND_UDP) // Linux 7.2
	return a
}

// ruleset returns a descriptor of the domain to be, or -1.
func (d Domain) ruleset() (int, error) {
	a := d.Ruleset(sys.Landlock(unix.LANDLOCK_CREATE_RULESET_VERSION))
	if a == (unix.LandlockRulesetAttr{}) {
		return -1, nil
	}
	fd, errno := sys.LandlockCreateRuleset(&a)
	if errno != 0 {
		return -1, fmt.Errorf("landlock_create_ruleset: %w", errno)
	}
	return fd, nil
}
