package sockaddr

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func family(f uint16, rest ...byte) []byte {
	return append(binary.NativeEndian.AppendUint16(nil, f), rest...)
}

func in4(f uint16, port uint16, ip ...byte) []byte {
	b := binary.BigEndian.AppendUint16(family(f), port)
	return append(append(b, ip...), make([]byte, 8)...)
}

func in6(port uint16, ip string, scope uint32) []byte {
	b := binary.BigEndian.AppendUint16(family(unix.AF_INET6), port)
	a := netip.MustParseAddr(ip).As16()
	b = append(append(b, 0, 0, 0, 0), a[:]...)
	return binary.NativeEndian.AppendUint32(b, scope)
}

func TestParse(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 108)
	for _, c := range []struct {
		name  string
		in    []byte
		want  Addr
		errno unix.Errno
	}{
		{"nothing", nil, Addr{}, unix.EINVAL},
		{"one byte", []byte{2}, Addr{}, unix.EINVAL},
		{"too long", make([]byte, 129), Addr{}, unix.EINVAL},
		{"ipv4", in4(unix.AF_INET, 443, 192, 0, 2, 7), Addr{Family: unix.AF_INET, Inet: netip.MustParseAddrPort("192.0.2.7:443")}, 0},
		{"ipv4 short", in4(unix.AF_INET, 443, 192, 0, 2, 7)[:15], Addr{Family: unix.AF_INET}, unix.EINVAL},
		{"ipv4 of 128 bytes", append(in4(unix.AF_INET, 1, 127, 0, 0, 1), make([]byte, 112)...), Addr{Family: unix.AF_INET, Inet: netip.MustParseAddrPort("127.0.0.1:1")}, 0},
		{"ipv6", in6(53, "2001:db8::1", 0), Addr{Family: unix.AF_INET6, Inet: netip.MustParseAddrPort("[2001:db8::1]:53")}, 0},
		{"ipv6 of 24 bytes", in6(53, "2001:db8::1", 7)[:24], Addr{Family: unix.AF_INET6, Inet: netip.MustParseAddrPort("[2001:db8::1]:53")}, 0},
		{"ipv6 of 23 bytes", in6(53, "2001:db8::1", 0)[:23], Addr{Family: unix.AF_INET6}, unix.EINVAL},
		{"scope of a link-local address", in6(1, "fe80::1", 3), Addr{Family: unix.AF_INET6, Inet: netip.MustParseAddrPort("[fe80::1%3]:1")}, 0},
		{"scope of another address", in6(1, "2001:db8::1", 3), Addr{Family: unix.AF_INET6, Inet: netip.MustParseAddrPort("[2001:db8::1]:1")}, 0},
		{"scope of a v4-mapped address", in6(1, "::ffff:169.254.1.2", 3), Addr{Family: unix.AF_INET6, Inet: netip.MustParseAddrPort("[::ffff:169.254.1.2]:1")}, 0},
		{"v4-mapped stays", in6(80, "::ffff:127.0.0.1", 0), Addr{Family: unix.AF_INET6, Inet: netip.MustParseAddrPort("[::ffff:127.0.0.1]:80")}, 0},
		{"unix path", append(family(unix.AF_UNIX), "/run/x\x00garbage"...), Addr{Family: unix.AF_UNIX, Unix: "/run/x"}, 0},
		{"unix path without NUL", family(unix.AF_UNIX, long...), Addr{Family: unix.AF_UNIX, Unix: string(long)}, 0},
		{"unix too long", family(unix.AF_UNIX, append(long, 'x')...), Addr{Family: unix.AF_UNIX}, unix.EINVAL},
		{"unix abstract", append(family(unix.AF_UNIX), "\x00na\x00me"...), Addr{Family: unix.AF_UNIX, Unix: "@na\x00me"}, 0},
		{"unix unnamed", family(unix.AF_UNIX), Addr{Family: unix.AF_UNIX}, 0},
		{"another family", family(unix.AF_VSOCK, make([]byte, 14)...), Addr{Family: unix.AF_VSOCK}, unix.EAFNOSUPPORT},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, errno := Parse(c.in)
			if got != c.want || errno != c.errno {
				t.Errorf("got %+v, %v; want %+v, %v", got, errno, c.want, c.errno)
			}
		})
	}
}

func header(name uint64, namelen int32, iovlen, controllen uint64) []byte {
	b := make([]byte, MsghdrLen)
	binary.NativeEndian.PutUint64(b[0:], name)
	binary.NativeEndian.PutUint32(b[8:], uint32(namelen))
	binary.NativeEndian.PutUint64(b[16:], 0x1000)
	binary.NativeEndian.PutUint64(b[24:], iovlen)
	binary.NativeEndian.PutUint64(b[32:], 0x2000)
	binary.NativeEndian.PutUint64(b[40:], controllen)
	return b
}

func TestParseMsghdr(t *testing.T) {
	for _, c := range []struct {
		name    string
		in      []byte
		nameLen int
		errno   unix.Errno
	}{
		{"plain", header(1, 16, 1, 0), 16, 0},
		{"name cut", header(1, 200, 1, 0), 128, 0},
		{"negative name", header(1, -1, 1, 0), -1, unix.EINVAL},
		{"no name has no length", header(0, 16, 1, 0), 0, 0},
		{"no name, negative length", header(0, -1, 1, 0), 0, 0},
		{"1024 vectors", header(0, 0, 1024, 0), 0, 0},
		{"1025 vectors", header(0, 0, 1025, 0), 0, unix.EMSGSIZE},
		{"all vectors", header(0, 0, ^uint64(0), 0), 0, unix.EMSGSIZE},
		{"short", header(0, 0, 0, 0)[:55], 0, unix.EFAULT},
	} {
		h, errno := ParseMsghdr(c.in)
		if h.NameLen != c.nameLen || errno != c.errno {
			t.Errorf("%s: got name of %d, %v; want %d, %v", c.name, h.NameLen, errno, c.nameLen, c.errno)
		}
	}
}

func iovecs(pairs ...uint64) (b []byte) {
	for _, p := range pairs {
		b = binary.NativeEndian.AppendUint64(b, p)
	}
	return b
}

func TestParseIovecs(t *testing.T) {
	v, errno := ParseIovecs(iovecs(1, 10, 2, 20))
	if errno != 0 || Total(v) != 30 || v[1] != (Iovec{2, 20}) {
		t.Errorf("got %v, %v", v, errno)
	}
	v, errno = ParseIovecs(iovecs(1, 0x7fffffffffffffff, 2, 5))
	if errno != 0 || Total(v) != 0x7ffff000 {
		t.Errorf("huge: got %d, %v; want the kernel's limit of 0x7ffff000", Total(v), errno)
	}
	if _, errno = ParseIovecs(iovecs(1, 1<<63)); errno != unix.EINVAL {
		t.Errorf("negative: got %v, want EINVAL", errno)
	}
}

func cmsg(length uint64, level, typ int32, data ...byte) []byte {
	b := binary.NativeEndian.AppendUint64(nil, length)
	b = binary.NativeEndian.AppendUint32(b, uint32(level))
	b = binary.NativeEndian.AppendUint32(b, uint32(typ))
	b = append(b, data...)
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	return b
}

func TestNextCmsg(t *testing.T) {
	b := append(cmsg(17, 1, 1, 'x'), cmsg(16, 2, 3)...)
	c, rest, ok, errno := NextCmsg(b)
	if !ok || errno != 0 || c.Level != 1 || string(c.Data) != "x" {
		t.Fatalf("first: %+v %v %v", c, ok, errno)
	}
	c, rest, ok, errno = NextCmsg(rest)
	if !ok || errno != 0 || c.Level != 2 || c.Type != 3 || len(c.Data) != 0 {
		t.Fatalf("second: %+v %v %v", c, ok, errno)
	}
	if _, _, ok, errno = NextCmsg(rest); ok || errno != 0 {
		t.Errorf("end: %v %v", ok, errno)
	}
	for name, bad := range map[string][]byte{
		"short header": cmsg(15, 1, 1), "past the end": cmsg(17, 1, 1), "overflow": cmsg(^uint64(0)-6, 1, 1),
	} {
		if _, _, ok, errno := NextCmsg(bad); ok || errno != unix.EINVAL {
			t.Errorf("%s: got %v, %v; want EINVAL", name, ok, errno)
		}
	}
}
