package guard

import (
	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose"
)

// Row is a line of the table of guards, as the README has it.
type Row struct {
	Kind   Kind
	Needs  string
	Covers string
}

var table = []Row{
	{Strict, "nothing", "nothing by the kernel: the supervisor performs every call on a copy, which no race changes"},
	{Landlock, "Linux 6.7 with Landlock", "TCP, whatever is forgotten or killed, and other processes; UDP from Linux 7.2"},
	{NFT, "the guard service, installed once by root", "every IP packet, in and out"},
	{Netns, "user namespaces, pasta, /dev/net/tun", "every IP packet, in and out"},
}

// Table returns all guards, the weakest first.
func Table() []Row { return table }

// covers says what the kernel refuses by itself under a guard and a domain, in
// words that stay the same: programs read them in netjail status --json.
func covers(k Kind, d interpose.Domain, abi int) (list []string) {
	if k.packets() {
		list = append(list, "IP packets")
	}
	r := d.Ruleset(abi)
	for _, c := range []struct {
		on   uint64
		what string
	}{
		{r.Handled_access_net & unix.LANDLOCK_ACCESS_NET_CONNECT_TCP, "TCP"},
		{r.Handled_access_net & unix.LANDLOCK_ACCESS_NET_CONNECT_SEND_UDP, "UDP"},
		{r.Scoped & unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET, "abstract sockets"},
		{r.Scoped & unix.LANDLOCK_SCOPE_SIGNAL, "signals"},
		{r.Handled_access_net | r.Scoped, "tracing others"}, // any domain does
	} {
		if c.on != 0 {
			list = append(list, c.what)
		}
	}
	return list
}

// Gap is something that Landlock does not refuse, or not before an ABI.
type Gap struct {
	Before  int    // the ABI that closes it; 0: none does
	What    string // that it lets through
	Closed  string // what closes it then
	Remains bool   // nothing does, and the README says so
}

// gaps are those that matter to a jail. A test looks for the rule of each in the
// filter.
var gaps = []Gap{
	{Before: 4, What: "TCP connect and bind", Closed: "connect and bind are trapped, and performed on a duplicate"},
	{Before: 4, What: "tracing other processes of the user", Closed: "Yama, where it is on", Remains: true},
	{Before: 6, What: "abstract sockets", Closed: "connect, sendto, sendmsg and sendmmsg are trapped"},
	{Before: 6, What: "signals to other processes of the user", Closed: "nothing", Remains: true},
	{Before: 10, What: "UDP", Closed: "connect, bind, sendto with an address, sendmsg and sendmmsg are trapped"},
	{What: "listening on a port of the kernel's choice", Closed: "listen is trapped"},
	{What: "TCP Fast Open by flag", Closed: "MSG_FASTOPEN is refused"}, // the kernel refuses it from 7.2 on, under no ABI of its own
	{What: "MPTCP, SCTP, SMC and other protocols", Closed: "socket refuses them"},
	{What: "raw and packet sockets", Closed: "socket refuses them"},
	{What: "source routes and routing headers", Closed: "setsockopt refuses them"},
	{What: "rings of io_uring", Closed: "io_uring_setup, enter and register are refused"},
}

// Gaps returns what Landlock of an ABI leaves to others.
func Gaps(abi int) (list []Gap) {
	for _, g := range gaps {
		if g.Before == 0 || abi < g.Before {
			list = append(list, g)
		}
	}
	return list
}
