package guard

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose/filter"
)

// calls are, for each gap, those by which it would be used.
var calls = map[string][]struct {
	nr   uint32
	args [6]uint64
	want uint32
}{
	"TCP connect and bind": {
		{n.Connect, [6]uint64{3, 1, 16}, filter.Notify},
		{n.Bind, [6]uint64{3, 1, 16}, filter.Notify},
	},
	"abstract sockets": {
		{n.Connect, [6]uint64{3, 1, 10}, filter.Notify},
		{n.Sendto, [6]uint64{3, 1, 1, 0, 1, 10}, filter.Notify},
		{n.Sendmsg, [6]uint64{3, 1}, filter.Notify},
		{n.Sendmmsg, [6]uint64{3, 1, 2}, filter.Notify},
	},
	"UDP": {
		{n.Connect, [6]uint64{3, 1, 16}, filter.Notify},
		{n.Bind, [6]uint64{3, 1, 16}, filter.Notify},
		{n.Sendto, [6]uint64{3, 1, 1, 0, 1, 16}, filter.Notify},
		{n.Sendto, [6]uint64{3, 1, 1, 0, 1 << 32, 16}, filter.Notify},
		{n.Sendmsg, [6]uint64{3, 1}, filter.Notify},
		{n.Sendmmsg, [6]uint64{3, 1, 2}, filter.Notify},
	},
	"listening on a port of the kernel's choice": {
		{n.Listen, [6]uint64{3, 1}, filter.Notify},
	},
	"TCP Fast Open by flag": {
		{n.Sendto, [6]uint64{3, 1, 1, unix.MSG_FASTOPEN, 1, 16}, filter.Errno(unix.EOPNOTSUPP)},
		{n.Sendmsg, [6]uint64{3, 1, unix.MSG_FASTOPEN}, filter.Errno(unix.EOPNOTSUPP)},
		{n.Sendmmsg, [6]uint64{3, 1, 1, unix.MSG_FASTOPEN}, filter.Errno(unix.EOPNOTSUPP)},
	},
	"MPTCP, SCTP, SMC and other protocols": {
		{n.Socket, [6]uint64{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP}, filter.Errno(unix.EPROTONOSUPPORT)},
		{n.Socket, [6]uint64{unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_SCTP}, filter.Errno(unix.EPROTONOSUPPORT)},
		{n.Socket, [6]uint64{unix.AF_INET, unix.SOCK_SEQPACKET, unix.IPPROTO_SCTP}, filter.Errno(unix.ESOCKTNOSUPPORT)},
		{n.Socket, [6]uint64{unix.AF_SMC, unix.SOCK_STREAM}, filter.Errno(unix.EAFNOSUPPORT)},
		{n.Socket, [6]uint64{unix.AF_VSOCK, unix.SOCK_STREAM}, filter.Errno(unix.EAFNOSUPPORT)},
	},
	"raw and packet sockets": {
		{n.Socket, [6]uint64{unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_UDP}, filter.Errno(unix.EPERM)},
		{n.Socket, [6]uint64{unix.AF_PACKET, unix.SOCK_RAW}, filter.Errno(unix.EAFNOSUPPORT)},
	},
	"source routes and routing headers": {
		{n.Setsockopt, [6]uint64{3, unix.SOL_IP, unix.IP_OPTIONS}, filter.Errno(unix.EPERM)},
		{n.Setsockopt, [6]uint64{3, unix.SOL_IPV6, unix.IPV6_RTHDR}, filter.Errno(unix.EPERM)},
	},
	"rings of io_uring": {
		{n.IoUringSetup, [6]uint64{8}, filter.Errno(unix.ENOSYS)},
		{n.IoUringEnter, [6]uint64{3}, filter.Errno(unix.ENOSYS)},
		{n.IoUringRegister, [6]uint64{3}, filter.Errno(unix.ENOSYS)},
	},
}

var n = filter.Native.Number

// TestGaps: what Landlock lets through, the filter traps or refuses, or it is
// said that nothing does.
func TestGaps(t *testing.T) {
	for _, g := range gaps {
		t.Run(g.What, func(t *testing.T) {
			list := calls[g.What]
			if (len(list) == 0) != g.Remains || g.Closed == "" {
				t.Errorf("%d calls are tried, and closed by %q; it remains: %v", len(list), g.Closed, g.Remains)
			}
			for _, c := range list {
				if got := filter.Native.Action(c.nr, &c.args); got != c.want {
					t.Errorf("call %d%v: action %#x, want %#x", c.nr, c.args, got, c.want)
				}
			}
		})
	}
	for what := range calls {
		if !named(what) {
			t.Errorf("%s is no gap", what)
		}
	}
	// The control: the filter lets through what needs no watching.
	if got := filter.Native.Action(n.Socket, &[6]uint64{unix.AF_INET, unix.SOCK_STREAM}); got != filter.Allow {
		t.Errorf("a TCP socket: action %#x, want %#x", got, filter.Allow)
	}
}

func named(what string) bool {
	for _, g := range gaps {
		if g.What == what {
			return true
		}
	}
	return false
}

func TestGapsOf(t *testing.T) {
	open := func(abi int) (n int) {
		for range Gaps(abi) {
			n++
		}
		return n
	}
	for _, abi := range []int{4, 6, 10} {
		if open(abi) >= open(abi-1) {
			t.Errorf("ABI %d leaves %d gaps, the one before %d", abi, open(abi), open(abi-1))
		}
	}
	if open(99) == 0 {
		t.Error("no gap is left, which cannot be")
	}
}
