package doctor

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// tryJail runs a program in a jail.
func tryJail(_ context.Context, v *visit) Result { return judge(v, v.jail()) }

// judge says whether a jail held, and let through what it should.
func judge(v *visit, t jailTrial) Result {
	switch {
	case t.Nested:
		return nested(v)
	case t.Failed != "":
		return fails(t.Failed, startFix(t))
	}
	for _, c := range []struct {
		what  string
		errno unix.Errno
		came  bool
	}{{"connection", t.Victim.Connect, t.Arrived.Connect}, {"datagram", t.Victim.Send, t.Arrived.Send}} {
		switch {
		case c.errno != 0:
			return fails(fmt.Sprintf("a %s that was allowed failed with %s", c.what, symbol(c.errno)), "see what else fails or is lost")
		case !c.came:
			return fails(fmt.Sprintf("a %s that was allowed did not arrive", c.what), reportIt)
		}
	}
	switch {
	case t.Arrived.Refused || t.Arrived.Unsent:
		return fails("a call that was denied was made all the same", reportIt)
	case t.Victim.Refused != unix.EACCES || t.Victim.Unsent != unix.EACCES:
		return fails(fmt.Sprintf("denied calls returned %s and %s, not EACCES", symbol(t.Victim.Refused), symbol(t.Victim.Unsent)), reportIt)
	case t.Decided < 4:
		return fails(fmt.Sprintf("only %d of 4 calls were decided", t.Decided), reportIt)
	}
	return ok(fmt.Sprintf("%d calls of a jailed program were decided: allowed ones made, denied ones not", t.Decided))
}

const reportIt = "please report this, with the output of netjail doctor --json"

// startFix says what to do about a jail that cannot be started.
func startFix(t jailTrial) string {
	switch {
	case t.Op == noLoopback:
		return "ip link set lo up"
	case t.Errno == unix.ENOSYS, t.Op == "seccomp" && t.Errno == unix.EINVAL:
		return "a kernel from Linux 5.10 on, with CONFIG_SECCOMP_FILTER"
	case t.Errno == unix.EPERM, t.Errno == unix.EACCES:
		return "something around this process forbids it: run netjail outside of this container or sandbox"
	}
	return ""
}

// tryKillable looks for WAIT_KILLABLE_RECV. The kernel looks at the flags
// before the program, of which there is none.
func tryKillable(context.Context, *visit) Result {
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, 0); errno == unix.EINVAL {
		return lost("no killable notifications", "now and then a signal repeats a call that is being performed", "Linux 5.19 has it")
	}
	return ok("only the end of a program interrupts a call that is being performed")
}

// tryWakeUp tells what the listener of the jail said to SYNC_WAKE_UP.
func tryWakeUp(_ context.Context, v *visit) Result {
	switch t := v.jail(); {
	case t.WakeUp:
		return ok("caller and supervisor take turns on one processor")
	case t.Failed != "" || t.Nested:
		return absent("no listener to try it on", "", "")
	}
	return lost("no synchronous wake-up", "30 µs on each call that is decided", "Linux 6.6 has it")
}

// tryThreads opens a pidfd of a thread.
func tryThreads(context.Context, *visit) Result {
	fd, err := unix.PidfdOpen(unix.Getpid(), unix.O_EXCL) // PIDFD_THREAD
	if err != nil {
		return lost("no pidfd of a thread: "+symbol(err), "the network of threads with descriptors of their own, which is refused", "Linux 6.9 has it")
	}
	unix.Close(fd)
	return ok("a thread with descriptors of its own can be served")
}

// landlockQuery is landlock_create_ruleset(2) with a flag that asks.
func landlockQuery(flag uintptr) (int, unix.Errno) {
	n, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, flag)
	return int(n), errno
}

func tryLandlock(_ context.Context, v *visit) Result {
	abi, errno := landlockQuery(unix.LANDLOCK_CREATE_RULESET_VERSION)
	errata, none := landlockQuery(unix.LANDLOCK_CREATE_RULESET_ERRATA)
	if none != 0 {
		errata = -1
	}
	r := landlock(abi, errno, errata)
	if t := v.jail(); r.State == OK && t.Op == "landlock_restrict_self" {
		return fails(t.Failed, "")
	}
	return r
}

// landlock says what an ABI means. errata are those that are fixed, one bit
// each, or negative.
func landlock(abi int, errno unix.Errno, errata int) Result {
	const wall = "a second wall: Landlock refuses TCP behind the filter, and keeps a jail from your other processes"
	switch {
	case errno == unix.EOPNOTSUPP:
		return lost("built in, and not enabled", wall, "boot with lsm=landlock,… (see /sys/kernel/security/lsm)")
	case errno != 0:
		return lost("none: "+symbol(errno), wall, "Linux 6.7 has it, or a container's seccomp profile hides it")
	case abi < 4:
		return lost(fmt.Sprintf("ABI %d knows no network", abi), wall, "Linux 6.7 has it")
	}
	detail := fmt.Sprintf("ABI %d", abi)
	var fixed []string
	for i := range 32 {
		if errata > 0 && errata&(1<<i) != 0 {
			fixed = append(fixed, fmt.Sprint(i+1))
		}
	}
	if len(fixed) > 0 {
		detail += ", errata fixed: " + strings.Join(fixed, " ")
	}
	if abi < 6 {
		return lost(detail+" cannot keep signals in", "a jailed program can signal, and end, other processes of yours", "Linux 6.12 has it")
	}
	return ok(detail)
}

// tryOthers tells how far the jailed program reached out.
func tryOthers(_ context.Context, v *visit) Result { return reach(v.jail()) }

func reach(t jailTrial) Result {
	switch {
	case t.Failed != "" || t.Nested:
		return absent("no jail to reach out of", "", "")
	case t.Victim.Getfd == 0:
		return lost("a jailed program took a descriptor out of another process",
			"the wall between a jail and your other processes, whose sockets it can take", "sudo sysctl kernel.yama.ptrace_scope=1, or Linux 6.7")
	case t.Victim.Signal == 0:
		return lost("a jailed program could signal another process", "the wall between a jail and your other processes, which it can end", "Linux 6.12 has it")
	case t.Victim.Getfd != unix.EPERM || t.Victim.Signal != unix.EPERM:
		return lost(fmt.Sprintf("a jailed program found no other process: %s, %s", symbol(t.Victim.Getfd), symbol(t.Victim.Signal)), "the answer to whether it can reach one", reportIt)
	}
	return ok("a jailed program could neither signal another process nor take its descriptors")
}
