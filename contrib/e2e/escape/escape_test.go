package escape

import (
	"fmt"
	"os"
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
	wide  bool // the receivers listen on every address of this host
	wire  bool // the receivers are at the end of a cable

	// What Landlock has a part in is tried without it, too. Where others then are
	// in reach, as they are of every process of theirs, strict says so.
	guarded bool
	strict  string

	// What the guards that have every packet do not hold: given, because nobody stops
	// messages of a socket that is not the jail's; lent, where the supervisor does not
	// keep the jail from those who send for it.
	given, lent bool

	// In a network of the jail's own the trick does nothing, or pasta does not pass
	// it on: only what is denied counts.
	pasta bool

	prepare func(*trial) // what is there before the helper
	inert   string       // why it may do nothing even without netjail
}

const (
	notHere   = "not in every kernel"
	needsRoot = "needs privileges"
	others    = "other processes of the user, without Landlock and Yama"
	signals   = "the user's processes, and the jail's own supervisor, can be stopped"
	asRoot    = "root's own supervisor, without Landlock"
	given     = "who gives a socket to the jail gives away what it can reach"
	lent      = "no packet is the jail's: somebody outside sends it"
	elsewhere = "the jail is in a network of the user's own"
)

var rows = []row{
	{name: "A1", tried: "another thread changes the address, 3000 tries", guarded: true, legal: true},
	{name: "A2", tried: "another thread changes the descriptor, 3000 tries", guarded: true, legal: true},
	{name: "A3", tried: "another thread changes family and descriptor, 3000 tries", guarded: true, legal: true},
	{name: "A4", tried: "another thread changes the msghdr, 3000 tries", guarded: true, legal: true},
	{name: "A5", tried: "sendmmsg, later entries elsewhere", legal: true},
	{name: "A6", tried: "a descriptor table of the thread's own, one shared by processes", guarded: true, legal: true},
	{name: "A7", tried: "address in a userfaultfd page, others go on", inert: "kernel faults need privileges"},
	{name: "A8", tried: "killed in a call, its process id used again, 150 times", pasta: true, legal: true, prepare: numbered},
	{name: "A9", tried: "a symbolic link to a broker's socket and back, 1000 tries", lent: true, prepare: withPodman},
	{name: "A10", tried: "an approved descriptor's number, after dup2, close_range and exec", legal: true},
	{name: "B1", tried: "AF_UNSPEC in sendto, sendmsg, connect", guarded: true, v6: true, legal: true},
	{name: "B2", tried: "IPv4 address on an IPv6 socket", v6: true, legal: true},
	{name: "B3", tried: "v4-mapped address", v6: true, legal: true},
	{name: "B4", tried: "0.0.0.0, :: and ::ffff:0.0.0.0", v6: true, legal: true},
	{name: "B5", tried: "127.0.0.2, addresses of every interface", wide: true},
	{name: "B6", tried: "::1 with scopes", v6: true, legal: true},
	{name: "B6/wire", tried: "link-local addresses with and without scope", pasta: true, legal: true, wire: true, prepare: allowLinkLocal},
	{name: "B7", tried: "24 lengths of addresses, five calls", v6: true, legal: true},
	{name: "B8", tried: "garbage in the upper words of int arguments", legal: true},
	{name: "B9", tried: "an allowed address in every other argument", legal: true},
	{name: "B10", tried: "addresses in secret or unreadable memory, of odd families", inert: notHere},
	{name: "B11", tried: "connect(AF_UNSPEC), then elsewhere", guarded: true, legal: true},
	{name: "B12", tried: "explicit destination on a connected UDP socket", legal: true},
	{name: "B13", tried: "type-4 routing header, option and control message", v6: true, legal: true},
	{name: "B13/wire", tried: "the same, packets with such a header counted", pasta: true, legal: true, wire: true},
	{name: "B14", tried: "IP_OPTIONS and IP_RETOPTS", legal: true},
	{name: "B14/wire", tried: "source routes, packets with options counted", legal: true, wire: true},
	{name: "B15", tried: "another source, device, mark; IP_PKTINFO", v6: true, legal: true},
	{name: "B16", tried: "joining multicast groups"},
	{name: "B16/igmp", tried: "the same, IGMP packets counted", wire: true},
	{name: "B16/mld", tried: "the same, MLD packets counted", wire: true},
	{name: "B16/send", tried: "sending to groups and broadcast addresses", wire: true},
	{name: "B17", tried: "listen without bind, a connection from outside", guarded: true},
	{name: "B18", tried: "UDP connected to port 0 of a denied host, then send"},
	{name: "B19", tried: "IPV6_ADDRFORM while AF_UNSPEC is sent"},
	{name: "B20", tried: "a routing header in a flow label", inert: notHere},
	{name: "C1", tried: "int 0x80: socket, connect, sendto, socketcall"},
	{name: "C2", tried: "x32 numbers", inert: notHere},
	{name: "C3", tried: "io_uring, a ring of its own", guarded: true},
	{name: "C4", tried: "io_uring, an inherited ring", prepare: inheritRing},
	{name: "C4/thread", prepare: keepRing},
	{name: "C5", tried: "write, writev, pwritev2, sendfile, splice, vmsplice after a refused connect", legal: true},
	{name: "C6", tried: "MSG_FASTOPEN in sendto, sendmsg, sendmmsg", guarded: true, v6: true},
	{name: "C7", tried: "TCP_FASTOPEN_CONNECT", v6: true, legal: true},
	{name: "C8", tried: "MPTCP", guarded: true, v6: true, inert: notHere},
	{name: "C9", tried: "SCTP, UDP-Lite, DCCP (sockets counted)", inert: notHere},
	{name: "C10", tried: "every other family (sockets counted)", inert: notHere, wire: true},
	{name: "C11", tried: "AF_VSOCK (sockets counted)", inert: notHere},
	{name: "C12", tried: "AF_ALG (sockets counted)", inert: notHere},
	{name: "C13", tried: "netlink but ROUTE, which works (sockets counted)"},
	{name: "C14", tried: "raw and packet sockets", inert: needsRoot},
	{name: "C14/wire", tried: "the same, where the program has capabilities", wire: true},
	{name: "C15", tried: "ping sockets", legal: true, wire: true, prepare: allowPing},
	{name: "C16", tried: "TUN, addresses and links, without CAP_NET_ADMIN", wire: true, prepare: withoutCapabilities},
	{name: "C17", tried: "unshare and setns"},
	{name: "C19", tried: "request_key"},
	{name: "C20", tried: "bpf, TCP_ULP", legal: true},
	{name: "D1/udp", tried: "stdin is a UDP socket", lent: true, legal: true, prepare: stdinUDP},
	{name: "D1/connected", tried: "stdin is a connected UDP socket", lent: true, legal: true, prepare: stdinConnectedUDP},
	{name: "D1/tcp", tried: "stdin is a connected TCP socket", lent: true, legal: true, prepare: stdinTCP},
	{name: "D2/in", tried: "a socket passed in by an unjailed process", legal: true, given: true, lent: true, prepare: passIn},
	{name: "D2/out", prepare: passOut},
	{name: "D3", tried: "pidfd_getfd of an unjailed process's socket", guarded: true, strict: others, prepare: withVictim},
	{name: "D4", tried: "ptrace, process_vm_writev, /proc/pid/mem", guarded: true, strict: others, prepare: withVictim},
	{name: "D5", tried: "signals to an unjailed process, the supervisor, the keeper", guarded: true, strict: signals, prepare: withVictim},
	{name: "D6", tried: "systemd's private sockets, by four names each", lent: true, prepare: withSystemd},
	{name: "D8", tried: "sockets of nscd, systemd-resolved and the system bus, by four names each", lent: true, prepare: withResolvers},
	{name: "D8/renamed", tried: "podman's socket, and under a new name", lent: true, prepare: withPodman},
	{name: "D9", tried: "sockets of docker, containerd, podman and the like", lent: true, prepare: withContainers},
	{name: "D9/linked", tried: "a hard link to a socket whose path a rule denies, and its new name", lent: true, prepare: denyPath},
	{name: "D11", tried: "TIOCSTI with garbage in the upper word"},
	{name: "D13", tried: "a setuid program", prepare: withSetuid},
	{name: "D14", tried: "under the name of a program that rules allow, from a file and a memfd", guarded: true, prepare: withTrusted},
	{name: "DUMPABLE", tried: "PR_SET_DUMPABLE 0: no network, but for root"},
	{name: "E1", tried: "the supervisor is killed, a listener of its own", pasta: true, guarded: true},
	{name: "E2", tried: "netjail in the jail, with other rules"},
	{name: "E3", tried: "later filters that allow, log, trace"},
	{name: "E4", tried: "a listener's descriptor in any process", guarded: true, strict: asRoot},
	{name: "E5", tried: "a tracer in the jail makes another call of one", guarded: true, legal: true},
	{name: "E6", tried: "calls without sense, killed in the middle; then others", legal: true},
	{name: "E7", tried: "100 calls that wait; then others", legal: true},
	{name: "E8", tried: "8000 calls to 501 destinations; then others", legal: true},
	{name: "E9", tried: "the daemon's control socket, by six names", prepare: withDaemon},
	{name: "E9/rule", tried: "the same, where a rule allows it", prepare: allowDaemon},
	{name: "E9/renamed", tried: "the control socket under a new name, with the old one gone", prepare: withDaemon},
	{name: "E10", tried: "ActionInvoked from another bus client", legal: true, prepare: withForger},
	{name: "E11", tried: "another session, control group, parent", legal: true},
	{name: "E12", tried: "answers with guessed ids on every descriptor"},
	{name: "E13", tried: "a broker's socket by chroot, other mounts, relative paths", lent: true, prepare: withPodman},
	{name: "E13/rights", lent: true},
	{name: "E14", tried: "SCM_CREDENTIALS of the supervisor, without CAP_SYS_ADMIN", prepare: withoutCapabilities},
	{name: "E15", tried: "socket: 48 families, 16 types, 16 protocols, garbage"},
	{name: "E16", tried: "sendmsg on every descriptor number, with descriptors", legal: true},
	{name: "E17", tried: "before main, and right after exec", guarded: true, legal: true, prepare: early},
	{name: "E18", tried: "a connection whose rule is removed: its descriptors, a child's, connect again", legal: true, prepare: allowForNow},
	{name: "E18/hidden", prepare: allowForNow},
	{name: "E19", tried: "interrupted, stopped and continued calls", legal: true},
}

// TestEscape tries every row, without netjail and with it.
func TestEscape(t *testing.T) {
	for i := range rows {
		r := &rows[i]
		t.Run(r.name, func(t *testing.T) {
			h := e2etest.NewHome(t)
			judge(t, r, try(t, r, h, false), try(t, r, h, true), "")
		})
	}
}

// TestEscapeStrict tries again, with nothing but the filter, what a guard has a
// part in.
func TestEscapeStrict(t *testing.T) {
	for i := range rows {
		r := &rows[i]
		if !r.guarded {
			continue
		}
		if r.strict == signals { // a supervisor that is stopped answers nothing, for ever
			verdicts = append(verdicts, verdict{r.name, r.tried + ", --guard strict", "out of reach: " + signals, "-", "-", "-"})
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			h := e2etest.NewHome(t)
			judge(t, r, try(t, r, h, false), try(t, r, h, true, "--guard", "strict"), "strict")
		})
	}
}

// TestEscapeGuards tries every row again under the guards that this machine was
// made ready for, $NETJAIL_TEST_GUARDS. Their jails need not be safe from a
// supervisor that is wrong: where $NETJAIL_TEST_CONTINUE is set netjail answers
// CONTINUE to every call, and only what arrives at the denied receiver counts.
func TestEscapeGuards(t *testing.T) {
	for _, guard := range strings.Fields(os.Getenv("NETJAIL_TEST_GUARDS")) {
		t.Run(guard, func(t *testing.T) {
			for i := range rows {
				r := &rows[i]
				if why := r.beyond(guard); why != "" {
					verdicts = append(verdicts, verdict{r.name, r.tried + ", --guard " + guard, "out of reach: " + why, "-", "-", "-"})
					continue
				}
				t.Run(r.name, func(t *testing.T) {
					h := e2etest.NewHome(t)
					judge(t, r, try(t, r, h, false), try(t, r, h, true, e2etest.Guard(guard)...), guard)
				})
			}
		})
	}
}

// beyond says why a guard that has every packet does not hold a row, or cannot be
// tried with it.
func (r *row) beyond(guard string) string {
	switch {
	case r.wire && guard == "nft":
		return elsewhere
	case r.given:
		return given
	case r.lent && continues():
		return lent
	}
	return ""
}

// continues says that the supervisor lets the kernel do everything.
func continues() bool { return os.Getenv("NETJAIL_TEST_CONTINUE") != "" }

// TestCatalogue: every row of the catalogue is tried or out of reach.
func TestCatalogue(t *testing.T) {
	known := make(map[string]bool)
	for _, r := range rows {
		id, _, _ := strings.Cut(r.name, "/")
		known[id] = true
		if (r.tried == "") != (open(r.name) != nil) {
			t.Errorf("%s is tried, or out of reach, but not both", r.name)
		}
	}
	for _, o := range OutOfReach() {
		id, _, _ := strings.Cut(o.Row, "/")
		known[id] = true
		if o.How == "" || o.Why == "" {
			t.Errorf("%s: says too little", o.Row)
		}
	}
	for _, id := range Catalogue() {
		if !known[id] {
			t.Errorf("%s is in the catalogue and not in the table", id)
		}
	}
}

// open says what is known of a row that is out of reach, or nil.
func open(name string) *Open {
	for _, o := range OutOfReach() {
		if o.Row == name {
			return &o
		}
	}
	return nil
}

// judge says what two trials of a row mean, the one in a jail under a guard.
func judge(t *testing.T, r *row, bare, in *result, guard string) {
	t.Helper()
	v := verdict{row: r.name, tried: r.tried, state: "closed", bare: strconv.Itoa(bare.got()), in: strconv.Itoa(in.got()), out: strconv.Itoa(in.allowed.all)}
	defer func() { verdicts = append(verdicts, v) }()
	if bare.got() == 0 {
		v.bare = "0 (" + r.inert + ")"
		if r.inert == "" {
			t.Error("the trick does nothing without netjail: the row proves nothing")
		}
	}
	if o := open(r.name); o != nil {
		v.tried, v.state = o.How, "out of reach: "+o.Why
		return
	}
	if guard != "" {
		v.tried += ", --guard " + guard
		if guard == "strict" && (r.strict == others || r.strict == asRoot && os.Getuid() == 0) {
			v.state = "out of reach: " + r.strict
			return
		}
	}
	list := problems(r, in)
	if continues() || r.pasta && guard == "netns" {
		list = leaks(r, in)
	}
	for _, problem := range list {
		v.state = "OPEN"
		t.Error(problem)
	}
}

// leaks are the problems of a jail whose supervisor lets the kernel do all.
// Sockets that are not the network's are then nobody's to refuse.
func leaks(r *row, in *result) (list []string) {
	if in.denied.all > 0 {
		list = append(list, fmt.Sprintf("denied: got %+v; allowed: %+v; want nothing", in.denied, in.allowed))
	}
	return list
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
