package escape

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// row is one way out.
type row struct {
	name  string // in the catalogue; what follows a slash tells variants apart
	tried string

	v6    bool // the allowed port is allowed on ::1 too
	legal bool // the trick is a way to send, and must work where that is allowed

	prepare func(*trial) // what is there before the helper
	reach   string       // why it is out of reach
	inert   string       // why it may do nothing even without netjail
	skip    func() string
}

// trick is the helper's name of the row.
func (r *row) trick() string {
	name, _, _ := strings.Cut(r.name, "/")
	return name
}

const (
	notHere   = "not in every kernel"
	needsRoot = "needs privileges"
)

var rows = []row{
	{name: "A5", tried: "sendmmsg, later entries elsewhere", legal: true},
	{name: "A6", tried: "a descriptor table of the thread's own, one shared by processes", legal: true},
	{name: "A7", tried: "address in a userfaultfd page, others go on", inert: "kernel faults need privileges"},
	{name: "B1", tried: "AF_UNSPEC in sendto, sendmsg, connect", v6: true, legal: true},
	{name: "B2", tried: "IPv4 address on an IPv6 socket", v6: true, legal: true},
	{name: "B3", tried: "v4-mapped address", v6: true, legal: true},
	{name: "B4", tried: "0.0.0.0, :: and ::ffff:0.0.0.0", v6: true, legal: true},
	{name: "B8", tried: "garbage in the upper words of int arguments", legal: true},
	{name: "B11", tried: "connect(AF_UNSPEC), then elsewhere", legal: true},
	{name: "B12", tried: "explicit destination on a connected UDP socket", legal: true},
	{name: "B13", tried: "type-4 routing header, option and control message", v6: true, legal: true},
	{name: "B14", tried: "IP_OPTIONS and IP_RETOPTS", legal: true},
	{name: "B16", tried: "joining multicast groups"},
	{name: "B17", tried: "listen without bind, a connection from outside"},
	{name: "B18", tried: "UDP connected to port 0 of a denied host, then send"},
	{name: "B19", tried: "IPV6_ADDRFORM while AF_UNSPEC is sent"},
	{name: "B20", tried: "a routing header in a flow label", inert: notHere},
	{name: "C1", tried: "int 0x80: socket, connect, sendto, socketcall"},
	{name: "C2", tried: "x32 numbers", inert: notHere},
	{name: "C3", tried: "io_uring, a ring of its own"},
	{name: "C4", tried: "io_uring, an inherited ring", prepare: inheritRing},
	{name: "C4thread", tried: "io_uring, an inherited ring with a kernel thread", prepare: keepRing,
		reach: "--keep-fd of a ring whose creator's kernel thread sends"},
	{name: "C6", tried: "MSG_FASTOPEN in sendto, sendmsg, sendmmsg", v6: true},
	{name: "C8", tried: "MPTCP", v6: true, inert: notHere},
	{name: "C9", tried: "SCTP, UDP-Lite, DCCP", inert: notHere},
	{name: "C11", tried: "AF_VSOCK"},
	{name: "C12", tried: "AF_ALG and every other family", inert: notHere},
	{name: "C13", tried: "netlink but ROUTE, which works"},
	{name: "C14", tried: "raw and packet sockets", inert: needsRoot},
	{name: "C17", tried: "unshare and setns"},
	{name: "C19", tried: "request_key and bpf"},
	{name: "D1/udp", tried: "stdin is a UDP socket", legal: true, prepare: stdinUDP},
	{name: "D1/connected", tried: "stdin is a connected UDP socket", legal: true, prepare: stdinConnectedUDP},
	{name: "D1/tcp", tried: "stdin is a connected TCP socket", legal: true, prepare: stdinTCP},
	{name: "D2in", tried: "a socket passed in by an unjailed process", legal: true, prepare: passIn},
	{name: "D2out", tried: "a socket passed out to an unjailed process", prepare: passOut,
		reach: "an unjailed process sends"},
	{name: "D3", tried: "pidfd_getfd of an unjailed process's socket", prepare: withVictim},
	{name: "D4", tried: "ptrace, process_vm_writev, /proc/pid/mem", prepare: withVictim},
	{name: "D5", tried: "signals to an unjailed process, the supervisor, the keeper", prepare: withVictim},
	{name: "D8", tried: "sockets of nscd and systemd-resolved", prepare: withBrokers, skip: brokersMissing},
	{name: "D8renamed", tried: "podman's socket, and under a new name", prepare: withPodman},
	{name: "D11", tried: "TIOCSTI with garbage in the upper word"},
	{name: "DUMPABLE", tried: "PR_SET_DUMPABLE 0: no network, but for root"},
	{name: "E1", tried: "the supervisor is killed, a listener of its own"},
	{name: "E2", tried: "netjail in the jail, with other rules"},
	{name: "E9", tried: "the daemon's control socket, by six names", prepare: withDaemon},
	{name: "E9/rule", tried: "the same, where a rule allows it", prepare: allowDaemon},
	{name: "RENAMED", tried: "the control socket under a new name, with the old one gone", prepare: withDaemon},
}

// TestEscape tries every row, without netjail and with it.
func TestEscape(t *testing.T) {
	for i := range rows {
		r := &rows[i]
		t.Run(r.name, func(t *testing.T) {
			if r.skip != nil {
				if why := r.skip(); why != "" {
					verdicts = append(verdicts, verdict{r, "not run: " + why, "-", "-", "-"})
					t.Skip(why)
				}
			}
			h := e2etest.NewHome(t)
			judge(t, r, try(t, r, h, false), try(t, r, h, true))
		})
	}
}

// judge says what two trials of a row mean.
func judge(t *testing.T, r *row, bare, in *result) {
	t.Helper()
	v := verdict{row: r, state: "closed", bare: strconv.Itoa(bare.got()), in: strconv.Itoa(in.got()), out: strconv.Itoa(in.allowed.all)}
	defer func() { verdicts = append(verdicts, v) }()
	if bare.got() == 0 {
		v.bare = "0 (" + r.inert + ")"
		if r.inert == "" {
			t.Error("the trick does nothing without netjail: the row proves nothing")
		}
	}
	if r.reach != "" {
		v.state = "out of reach: " + r.reach
		return
	}
	for _, problem := range problems(r, in) {
		v.state = "OPEN"
		t.Error(problem)
	}
}

func problems(r *row, in *result) (list []string) {
	if in.got() > 0 {
		list = append(list, fmt.Sprintf("denied: got %+v, and %q; allowed: %+v; want nothing", in.denied, in.leaks, in.allowed))
	}
	if in.allowed.all == 0 {
		list = append(list, "nothing arrived at the allowed destination")
	}
	if r.legal && in.allowed.trick == 0 {
		list = append(list, "the trick does not work where it is allowed")
	}
	if !in.done {
		list = append(list, "the helper did not get to its end")
	}
	return list
}
