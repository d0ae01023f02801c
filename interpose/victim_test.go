package interpose

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// victims are programs that this test binary is when it is started with the
// name of one in $NETJAIL_VICTIM.
var victims = map[string]func(){"semantics": semantics, "connects": connects, "bursts": bursts, "race": race}

// victimConnects is how many calls the victim "connects" makes, unless
// $NETJAIL_VICTIM_CALLS says so.
const victimConnects = 100_000

func connects() {
	runtime.LockOSThread() // the supervisor keeps a pidfd for each thread that calls
	addr := sa4("127.0.0.1:9")
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		os.Exit(1)
	}
	n, err := strconv.Atoi(os.Getenv("NETJAIL_VICTIM_CALLS"))
	if err != nil {
		n = victimConnects
	}
	for range n {
		if _, _, e := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), ptr(addr), 16); e != 0 {
			os.Exit(1)
		}
	}
}

func TestMain(m *testing.M) {
	if name := os.Getenv("NETJAIL_VICTIM"); name != "" {
		victims[name]()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// raw addresses, as bytes.
func sa4(addr string) []byte {
	a := netip.MustParseAddrPort(addr)
	ip := a.Addr().As4()
	b := binary.NativeEndian.AppendUint16(nil, unix.AF_INET)
	b = append(binary.BigEndian.AppendUint16(b, a.Port()), ip[:]...)
	return append(b, make([]byte, 8)...)
}

func sa6(addr string) []byte {
	a := netip.MustParseAddrPort(addr)
	ip := a.Addr().As16()
	b := binary.NativeEndian.AppendUint16(nil, unix.AF_INET6)
	b = append(binary.BigEndian.AppendUint16(b, a.Port()), 0, 0, 0, 0)
	return append(append(b, ip[:]...), 0, 0, 0, 0)
}

func saUnspec(b []byte) []byte {
	c := append([]byte(nil), b...)
	binary.NativeEndian.PutUint16(c, unix.AF_UNSPEC)
	return c
}

func saUnix(path string) []byte {
	return append(binary.NativeEndian.AppendUint16(nil, unix.AF_UNIX), path...)
}

func pad(b []byte, n int) []byte { return append(append([]byte(nil), b...), make([]byte, n-len(b))...) }

func ptr(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

const badPointer = 16 // nothing is mapped there

// script prints what each call returned.
type script struct{ dir string }

func (s *script) say(name string, r uintptr, e unix.Errno) {
	if e != 0 {
		fmt.Printf("%s: %s\n", name, unix.ErrnoName(e))
		return
	}
	fmt.Printf("%s: %d\n", name, r)
}

func (s *script) socket(domain, typ, proto int) int {
	fd, err := unix.Socket(domain, typ|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		fmt.Println("socket:", err)
	}
	return fd
}

func (s *script) connect(name string, fd int, b []byte) {
	s.connectLen(name, fd, ptr(b), len(b))
}

func (s *script) connectLen(name string, fd int, p uintptr, n int) {
	r, _, e := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), p, uintptr(n))
	s.say("connect "+name, r, e)
	if v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err == nil {
		fmt.Printf("  SO_ERROR %d\n", v)
	}
	if fl, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err == nil {
		fmt.Printf("  flags %#x\n", fl)
	}
}

func (s *script) bind(name string, fd int, b []byte) {
	r, _, e := unix.Syscall(unix.SYS_BIND, uintptr(fd), ptr(b), uintptr(len(b)))
	s.say("bind "+name, r, e)
}

func (s *script) listen(name string, fd int) {
	r, _, e := unix.Syscall(unix.SYS_LISTEN, uintptr(fd), 100, 0)
	s.say("listen "+name, r, e)
}

func (s *script) sendto(name string, fd int, data string, flags int, addr []byte) {
	d := []byte(data)
	r, _, e := unix.Syscall6(unix.SYS_SENDTO, uintptr(fd), ptr(d), uintptr(len(d)), uintptr(flags|unix.MSG_NOSIGNAL), ptr(addr), uintptr(len(addr)))
	s.say("sendto "+name, r, e)
}

func (s *script) sendmsg(name string, fd int, h *unix.Msghdr, flags int) {
	r, _, e := unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(h)), uintptr(flags|unix.MSG_NOSIGNAL))
	s.say("sendmsg "+name, r, e)
}

// msghdr is a message of one vector.
func msghdr(data string, addr []byte) *unix.Msghdr {
	d := []byte(data)
	iov := &unix.Iovec{Base: unsafe.SliceData(d), Len: uint64(len(d))}
	h := &unix.Msghdr{Iov: iov, Iovlen: 1}
	if addr != nil {
		h.Name, h.Namelen = unsafe.SliceData(addr), uint32(len(addr))
	}
	return h
}

// listener4 listens on a port of its own and returns its address.
func (s *script) listener(sa []byte, domain int) (fd int, addr string) {
	fd = s.socket(domain, unix.SOCK_STREAM, 0)
	s.bind("for a listener", fd, sa)
	s.listen("", fd)
	return fd, local(fd)
}

func local(fd int) string {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return err.Error()
	}
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)).String()
	}
	return fmt.Sprint(sa)
}

// closedPort returns an address at which nobody listens, and nobody else can.
func (s *script) closedPort() string {
	fd := s.socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	s.bind("for a closed port", fd, sa4("127.0.0.1:0"))
	return local(fd)
}

// semantics makes every call that section 2 of the bypass catalogue names, in
// every state that matters, and prints what came of it.
func semantics() {
	dir, err := os.MkdirTemp("", "nj")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	defer os.RemoveAll(dir)
	if err := os.Chdir(dir); err != nil {
		fmt.Println(err)
	}
	s := &script{dir}
	s.errors()
	s.lengths()
	s.tcp()
	s.udp()
	s.local()
	s.messages()
	s.binding()
}

func (s *script) errors() {
	good := sa4("127.0.0.1:9")
	s.connect("bad descriptor", 999, good)
	s.connectLen("bad descriptor, bad pointer", 999, badPointer, 16)
	file, _ := unix.Open(".", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	path, _ := unix.Open(".", unix.O_PATH|unix.O_CLOEXEC, 0)
	s.connect("no socket", file, good)
	s.connectLen("no socket, bad pointer", file, badPointer, 16)
	s.connect("O_PATH", path, good)
	s.bind("no socket", file, good)
	s.listen("no socket", file)
	s.sendto("no socket", file, "x", 0, good)
	s.sendmsg("no socket", file, msghdr("x", good), 0)
	s.bind("bad descriptor", 999, good)
	s.listen("bad descriptor", 999)
	s.sendto("bad descriptor", 999, "x", 0, good)
	s.sendmsg("bad descriptor", 999, msghdr("x", nil), 0)
	s.sendmsg("O_PATH", path, msghdr("x", nil), 0)
}

func (s *script) lengths() {
	tcp4, tcp6 := s.socket(unix.AF_INET, unix.SOCK_STREAM, 0), s.socket(unix.AF_INET6, unix.SOCK_STREAM, 0)
	ux := s.socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	a := pad(sa4("127.0.0.1:9"), 200)
	for _, n := range []int{0, 1, 2, 8, 15, 129, -1, 0x7fffffff} {
		s.connectLen(fmt.Sprint("tcp4 length ", n), tcp4, ptr(a), n)
		s.connectLen(fmt.Sprint("tcp4 bad pointer, length ", n), tcp4, badPointer, n)
	}
	b := pad(sa6("[::1]:9"), 200)
	for _, n := range []int{0, 1, 2, 16, 23, 129} {
		s.connectLen(fmt.Sprint("tcp6 length ", n), tcp6, ptr(b), n)
	}
	s.connect("tcp4 with IPv6", tcp4, sa6("[::1]:9"))
	s.connect("tcp4 with unix", tcp4, pad(saUnix("/x"), 16))
	s.connect("tcp6 with IPv4", tcp6, sa4("127.0.0.1:9"))
	s.connect("tcp6 with 28 bytes of IPv4", tcp6, pad(sa4("127.0.0.1:9"), 28))
	s.connect("unix with IPv4", ux, sa4("127.0.0.1:9"))
	s.connect("unix of 2 bytes", ux, saUnix(""))
	s.connect("unix too long", ux, saUnix(strings.Repeat("x", 109)))
	s.connect("unix absent", ux, saUnix("absent"))
	s.connect("unix AF_UNSPEC", ux, saUnspec(sa4("0.0.0.0:0")))
}

func (s *script) tcp() {
	_, addr := s.listener(sa4("127.0.0.1:0"), unix.AF_INET)
	dead := s.closedPort()
	for _, mode := range []struct {
		name string
		flag int
	}{{"blocking", 0}, {"non-blocking", unix.SOCK_NONBLOCK}} {
		fd := s.socket(unix.AF_INET, unix.SOCK_STREAM|mode.flag, 0)
		s.sendto(mode.name+" unconnected, with address", fd, "x", 0, sa4(addr))
		s.sendmsg(mode.name+" unconnected", fd, msghdr("x", nil), 0)
		s.connect(mode.name, fd, sa4(addr))
		ready(fd)
		s.connect(mode.name+" again", fd, sa4(addr))
		s.connect(mode.name+" once more", fd, sa4(addr))
		s.sendto(mode.name+" connected, another address", fd, "x", 0, sa4(dead))
		s.sendmsg(mode.name+" connected", fd, msghdr("abc", nil), 0)
		s.sendmsg(mode.name+" connected, with address", fd, msghdr("abc", sa4(dead)), 0)
		s.connect(mode.name+" AF_UNSPEC", fd, saUnspec(sa4("0.0.0.0:0")))
		s.connect(mode.name+" anew", fd, sa4(addr))
		ready(fd)
		unix.Close(fd)

		fd = s.socket(unix.AF_INET, unix.SOCK_STREAM|mode.flag, 0)
		s.connect(mode.name+" refused", fd, sa4(dead))
		ready(fd)
		s.connect(mode.name+" refused again", fd, sa4(dead))
		unix.Close(fd)

		fd = s.socket(unix.AF_INET6, unix.SOCK_STREAM|mode.flag, 0)
		s.connect(mode.name+" v4-mapped", fd, sa6(mapped(addr)))
		unix.Close(fd)
		fd = s.socket(unix.AF_INET, unix.SOCK_STREAM|mode.flag, 0)
		s.connect(mode.name+" any is localhost", fd, sa4(strings.Replace(addr, "127.0.0.1", "0.0.0.0", 1)))
		unix.Close(fd)
	}
	fd := s.socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	s.connect("with 128 bytes", fd, pad(sa4(addr), 128))
	unix.Close(fd)
	fd = s.socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	s.listen("unbound", fd)
	s.listen("again", fd)
	s.connect("of a listener", fd, sa4(addr))
}

func mapped(addr string) string {
	a := netip.MustParseAddrPort(addr)
	return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port()).String()
}

// ready waits until a connect is over, without a look at SO_ERROR.
func ready(fd int) {
	unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int((time.Minute).Milliseconds()))
}

func (s *script) udp() {
	recv := s.socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	s.bind("udp receiver", recv, sa4("127.0.0.1:0"))
	addr := local(recv)
	fd := s.socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	s.sendto("udp", fd, "x", 0, sa4(addr))
	s.sendto("udp AF_UNSPEC", fd, "x", 0, saUnspec(sa4(addr)))
	s.sendto("udp port 0", fd, "x", 0, sa4("127.0.0.1:0"))
	s.sendto("udp short", fd, "x", 0, sa4(addr)[:15])
	s.sendto("udp IPv6", fd, "x", 0, sa6("[::1]:9"))
	s.sendto("udp too large", fd, strings.Repeat("x", 70000), 0, sa4(addr))
	s.sendto("udp empty", fd, "", 0, sa4(addr))
	s.sendmsg("udp", fd, msghdr("xyz", sa4(addr)), 0)
	s.sendmsg("udp no name", fd, msghdr("xyz", nil), 0)
	s.sendmsg("udp 200 bytes of name", fd, msghdr("xyz", pad(sa4(addr), 200)), 0)
	neg := msghdr("xyz", sa4(addr))
	neg.Namelen = 0x80000000
	s.sendmsg("udp negative name", fd, neg, 0)
	s.connect("udp", fd, sa4(addr))
	s.sendmsg("udp connected", fd, msghdr("xyz", nil), 0)
	s.sendto("udp connected, elsewhere", fd, "x", 0, sa4("127.0.0.1:9"))
	s.connect("udp AF_UNSPEC", fd, saUnspec(sa4("0.0.0.0:0")))
	s.sendmsg("udp dissolved", fd, msghdr("xyz", nil), 0)
	s.listen("udp", fd)
	r, _, e := unix.Syscall6(unix.SYS_SENDTO, uintptr(fd), badPointer, 5, unix.MSG_NOSIGNAL, ptr(sa4(addr)), 16)
	s.say("sendto udp bad data", r, e)
	r, _, e = unix.Syscall6(unix.SYS_SENDTO, uintptr(fd), ptr(sa4(addr)), 5, unix.MSG_NOSIGNAL, badPointer, 16)
	s.say("sendto udp bad address", r, e)

	six := s.socket(unix.AF_INET6, unix.SOCK_DGRAM, 0)
	s.sendto("udp6 to IPv4", six, "x", 0, sa4(addr))
	s.sendto("udp6 to v4-mapped", six, "x", 0, sa6(mapped(addr)))
	s.sendto("udp6 AF_UNSPEC", six, "x", 0, saUnspec(sa6("[::1]:9")))
	s.sendto("udp6 short", six, "x", 0, sa6("[::1]:9")[:23])
	s.connect("udp6 to IPv4", six, sa4(addr))
	fmt.Println("received", drain(recv))
}

func drain(fd int) (n int) {
	buf := make([]byte, 100)
	for {
		if _, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT); err != nil {
			return n
		}
		n++
	}
}

func (s *script) local() {
	l := s.socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	s.listen("unix unbound", l)
	s.bind("unix path", l, saUnix("sock"))
	if fi, err := os.Stat("sock"); err == nil {
		fmt.Println("  mode", fi.Mode())
	}
	sa, _ := unix.Getsockname(l)
	fmt.Printf("  name %q\n", sa.(*unix.SockaddrUnix).Name)
	s.bind("unix twice", l, saUnix("sock2"))
	s.listen("unix", l)
	fd := s.socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	s.sendto("unix stream unconnected, with address", fd, "x", 0, saUnix("sock"))
	s.connect("unix relative", fd, saUnix("sock"))
	s.connect("unix again", fd, saUnix("sock"))
	s.sendto("unix stream connected, with address", fd, "x", 0, saUnix("sock"))
	s.sendmsg("unix stream", fd, msghdr("abc", nil), 0)
	fd = s.socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	s.connect("unix absolute", fd, saUnix(filepath.Join(s.dir, "sock")+"\x00"))
	fd = s.socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	s.connect("unix not a socket", fd, saUnix("."))
	other := s.socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	s.bind("unix existing", other, saUnix("sock"))
	s.bind("unix abstract", other, saUnix("\x00netjail-test-"+filepath.Base(s.dir)))
	s.listen("unix abstract", other)
	s.connect("unix abstract", fd, saUnix("\x00netjail-test-"+filepath.Base(s.dir)))
	auto := s.socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	s.bind("unix autobind", auto, saUnix(""))
	s.bind("unix too long", s.socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0), saUnix(strings.Repeat("y", 109)))
	long := s.socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	s.bind("unix 108 bytes", long, saUnix(strings.Repeat("z", 108)))
	dg := s.socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	s.sendto("unix dgram", dg, "x", 0, saUnix(strings.Repeat("z", 108)))
	s.sendto("unix dgram to IPv4", dg, "x", 0, sa4("127.0.0.1:9"))
	s.sendto("unix dgram to a stream", dg, "x", 0, saUnix("sock"))
	s.connect("unix dgram", dg, saUnix(strings.Repeat("z", 108)))
	s.sendmsg("unix dgram connected", dg, msghdr("xy", nil), 0)
	s.connect("unix dgram AF_UNSPEC", dg, saUnspec(sa4("0.0.0.0:0")))
	fmt.Println("received", drain(long))
}

func (s *script) messages() {
	recv := s.socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	s.bind("receiver", recv, sa4("127.0.0.1:0"))
	fd := s.socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	to := sa4(local(recv))

	r, _, e := unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), badPointer, 0)
	s.say("sendmsg bad header", r, e)
	h := msghdr("x", to)
	h.Iovlen = 1025
	s.sendmsg("1025 vectors", fd, h, 0)
	h = msghdr("x", to)
	h.Iovlen = 0
	s.sendmsg("no vectors", fd, h, 0)
	h = msghdr("x", to)
	control := make([]byte, 64)
	h.Control, h.Controllen = unsafe.SliceData(control), 1<<40
	s.sendmsg("huge control", fd, h, 0)
	h = msghdr("x", to)
	copy(control, unix.UnixRights()) // none
	binary.NativeEndian.PutUint64(control, 8)
	h.Control, h.Controllen = unsafe.SliceData(control), 16
	s.sendmsg("malformed control", fd, h, 0)

	s.sendmmsg("three", fd, []*unix.Msghdr{msghdr("a", to), msghdr("bb", to), msghdr("ccc", to)}, 3)
	s.sendmmsg("second fails", fd, []*unix.Msghdr{msghdr("a", to), msghdr("b", to[:3]), msghdr("c", to)}, 3)
	s.sendmmsg("first fails", fd, []*unix.Msghdr{msghdr("a", to[:3]), msghdr("b", to)}, 2)
	s.sendmmsg("none", fd, []*unix.Msghdr{msghdr("a", to)}, 0)
	many := make([]*unix.Msghdr, 1100)
	for i := range many {
		many[i] = msghdr("m", to)
	}
	s.sendmmsg("1100", fd, many, 1100)

	pair, _ := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	h = msghdr("f", nil)
	rights := unix.UnixRights(recv, fd)
	h.Control, h.Controllen = unsafe.SliceData(rights), uint64(len(rights))
	s.sendmsg("two descriptors", pair[0], h, 0)
	buf, oob := make([]byte, 10), make([]byte, 200)
	n, oobn, _, _, err := unix.Recvmsg(pair[1], buf, oob, 0)
	fmt.Println("  received", n, oobn, err)
	rights = unix.UnixRights(recv, 999)
	h = msghdr("f", nil)
	h.Control, h.Controllen = unsafe.SliceData(rights), uint64(len(rights))
	s.sendmsg("a bad descriptor", pair[0], h, 0)
	unix.Close(pair[1])
	s.sendmsg("peer closed", pair[0], msghdr("x", nil), 0)
}

func (s *script) sendmmsg(name string, fd int, list []*unix.Msghdr, n int) {
	type mmsghdr struct {
		h unix.Msghdr
		n uint32
		_ uint32
	}
	v := make([]mmsghdr, len(list))
	for i, h := range list {
		v[i].h = *h
	}
	r, _, e := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&v[0])), uintptr(n), unix.MSG_NOSIGNAL, 0, 0)
	s.say("sendmmsg "+name, r, e)
	for i := range v[:min(3, len(v))] {
		fmt.Printf("  message %d: %d bytes\n", i, v[i].n)
	}
}

func (s *script) binding() {
	fd := s.socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	s.bind("AF_UNSPEC with an address", fd, saUnspec(sa4("127.0.0.1:0")))
	s.bind("tcp4 short", fd, sa4("127.0.0.1:0")[:8])
	s.bind("tcp4 with IPv6", fd, sa6("[::1]:0"))
	s.bind("foreign address", fd, sa4("192.0.2.1:0"))
	s.bind("AF_UNSPEC", fd, saUnspec(sa4("0.0.0.0:0")))
	s.bind("twice", fd, sa4("127.0.0.1:0"))
	six := s.socket(unix.AF_INET6, unix.SOCK_STREAM, 0)
	s.bind("tcp6 with IPv4", six, sa4("127.0.0.1:0"))
	s.bind("tcp6 with 28 bytes of IPv4", six, pad(sa4("127.0.0.1:0"), 28))
	s.bind("tcp6 short", six, sa6("[::1]:0")[:20])
	s.bind("tcp6", six, sa6("[::1]:0"))
	s.listen("tcp6", six)
	one, two := s.socket(unix.AF_INET, unix.SOCK_STREAM, 0), s.socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	s.bind("free", one, sa4("127.0.0.1:0"))
	s.bind("taken", two, sa4(local(one)))
	udp := s.socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	s.bind("udp", udp, sa4("127.0.0.1:0"))
	s.bind("udp twice", udp, sa4("127.0.0.1:0"))
}
