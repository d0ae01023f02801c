package sockaddr

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// What each target found is in testdata/fuzz, and run by every go test.

func FuzzParse(f *testing.F) {
	for _, b := range [][]byte{nil, in4(2, 80, 127, 0, 0, 1), in6(80, "fe80::1", 2), family(1, 47, 120), family(1, 0, 'a')} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		given := bytes.Clone(b)
		a, errno := Parse(b)
		if !bytes.Equal(b, given) {
			t.Fatalf("% x: written to", given)
		}
		least, most := 2, MaxLen
		if len(b) >= 2 {
			switch binary.LittleEndian.Uint16(b) {
			case unix.AF_INET:
				least = 16
			case unix.AF_INET6:
				least = 24
			case unix.AF_UNIX:
				most = 110
			default:
				most = -1 // none
			}
		}
		if taken := len(b) >= least && len(b) <= most; taken != (errno == 0) {
			t.Fatalf("% x: %v", b, errno)
		}
		if errno != 0 {
			if a != (Addr{Family: a.Family}) {
				t.Fatalf("% x: refused, and yet %+v", b, a)
			}
			return
		}
		switch ip := a.Inet.Addr(); a.Family {
		case unix.AF_INET, unix.AF_INET6:
			at := map[uint16]int{unix.AF_INET: 4, unix.AF_INET6: 8}[a.Family]
			if raw := ip.AsSlice(); !bytes.Equal(raw, b[at:at+len(raw)]) || a.Inet.Port() != uint16(b[2])<<8|uint16(b[3]) || a.Unix != "" {
				t.Fatalf("% x: taken for %+v", b, a)
			}
			if ip.Zone() != "" && !netip.MustParsePrefix("fe80::/10").Contains(ip.WithZone("")) && b[8] != 0xff {
				t.Fatalf("% x: %v has a scope", b, ip)
			}
		case unix.AF_UNIX:
			want := b[2:]
			if len(want) > 0 && want[0] == 0 {
				want = append([]byte{'@'}, want[1:]...)
			} else if i := bytes.IndexByte(want, 0); i >= 0 {
				want = want[:i]
			}
			if a.Unix != string(want) || a.Inet.IsValid() {
				t.Fatalf("% x: taken for %+v", b, a)
			}
		}
	})
}

func FuzzMsghdr(f *testing.F) {
	f.Add(header(1, 16, 1, 0), iovecs(1, 2))
	f.Fuzz(func(t *testing.T, h, v []byte) {
		m, errno := ParseMsghdr(h)
		var want unix.Errno
		switch u64 := binary.LittleEndian.Uint64; {
		case len(h) < MsghdrLen:
			want = unix.EFAULT
		case u64(h) != 0 && h[11]&0x80 != 0:
			want = unix.EINVAL
		case u64(h[24:]) > MaxIovecs:
			want = unix.EMSGSIZE
		case m.Name != u64(h) || m.Iov != u64(h[16:]) || m.Control != u64(h[32:]) || m.ControlLen != u64(h[40:]):
			t.Fatalf("% x: taken for %+v", h, m)
		}
		if errno != want {
			t.Fatalf("% x: %v, want %v", h, errno, want)
		}
		if errno == 0 && (m.NameLen < 0 || m.NameLen > MaxLen || m.Name == 0 && m.NameLen > 0 || m.IovLen > MaxIovecs) {
			t.Fatalf("% x: taken for %+v", h, m)
		}
		parts, errno := ParseIovecs(v)
		checkIovecs(t, v, parts, errno)
	})
}

func checkIovecs(t *testing.T, v []byte, parts []Iovec, errno unix.Errno) {
	t.Helper()
	if cap(parts) > len(v)/IovecLen {
		t.Fatalf("room for %d vectors in %d bytes", cap(parts), len(v))
	}
	if n := Total(parts); n < 0 || n > maxTotal {
		t.Fatalf("% x: %d bytes", v, n)
	}
	for i := range len(v) / IovecLen {
		at := v[i*IovecLen:]
		switch base, n := binary.LittleEndian.Uint64(at), binary.LittleEndian.Uint64(at[8:]); {
		case n>>63 != 0:
			if errno != unix.EINVAL || parts != nil {
				t.Fatalf("% x: a negative length is %v, want EINVAL", v, errno)
			}
			return
		case errno == 0 && (parts[i].Base != base || parts[i].Len > n):
			t.Fatalf("% x: vector %d is %+v", v, i, parts[i])
		}
	}
	if errno != 0 || len(parts) != len(v)/IovecLen {
		t.Fatalf("% x: %v, %d vectors", v, errno, len(parts))
	}
}

// cmsgs reads all control messages of b, and checks that they are in it.
func cmsgs(t *testing.T, b []byte) (list []Cmsg, errno unix.Errno) {
	t.Helper()
	for rest := b; ; {
		c, next, ok, errno := NextCmsg(rest)
		if ok != (errno == 0 && len(rest) >= cmsgHeader) {
			t.Fatalf("% x: ok is %v, %v", rest, ok, errno)
		}
		if !ok {
			return list, errno
		}
		n := cmsgHeader + len(c.Data)
		if n > len(rest) || uint64(n) != binary.LittleEndian.Uint64(rest) || !bytes.Equal(c.Data, rest[cmsgHeader:n]) {
			t.Fatalf("% x: %d bytes of data", rest, len(c.Data))
		}
		if used := len(rest) - len(next); used < n || used > n+7 || !bytes.Equal(next, rest[used:]) {
			t.Fatalf("% x: %d of %d bytes left", rest, len(next), len(rest))
		}
		list, rest = append(list, c), next
	}
}

func FuzzCmsg(f *testing.F) {
	f.Add(append(cmsg(20, 1, 1, 1, 2, 3, 4), cmsg(16, 0, 0)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, errno := cmsgs(t, b)
		if errno != 0 && errno != unix.EINVAL {
			t.Fatalf("% x: %v", b, errno)
		}
	})
}

// FuzzCompat: what is made of 32-bit structures is in the 64-bit layout, and
// says the same.
func FuzzCompat(f *testing.F) {
	small := []byte{16, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 'd', 'a', 't', 'a'}
	f.Add(append(slices.Clone(small), small...))
	f.Fuzz(func(t *testing.T, b []byte) {
		u32 := func(at int) uint64 { return uint64(binary.LittleEndian.Uint32(b[at:])) }
		if len(b) >= CompatMsghdrLen {
			wide := ExpandMsghdr((*[CompatMsghdrLen]byte)(b))
			m, errno := ParseMsghdr(wide[:])
			if errno == 0 && (m.Name != u32(0) || m.Iov != u32(8) || m.IovLen != u32(12) || m.Control != u32(16) || m.ControlLen != u32(20)) {
				t.Fatalf("% x: taken for %+v", b, m)
			}
		}
		vectors := ExpandIovecs(b)
		if len(vectors) != len(b)/CompatIovecLen*IovecLen || cap(vectors) > 2*len(b) {
			t.Fatalf("%d bytes, room for %d, from %d", len(vectors), cap(vectors), len(b))
		}
		parts, errno := ParseIovecs(vectors)
		checkIovecs(t, vectors, parts, errno)
		wide, errno := ExpandCmsgs(b)
		if errno != 0 {
			if errno != unix.EINVAL || wide != nil {
				t.Fatalf("% x: %v, % x", b, errno, wide)
			}
			return
		}
		if len(wide) > 2*len(b) {
			t.Fatalf("%d bytes from %d", len(wide), len(b))
		}
		list, errno := cmsgs(t, wide)
		if errno != 0 || len(list) == 0 {
			t.Fatalf("% x: %v", b, errno)
		}
		for at, i := 0, 0; i < len(list); i++ {
			n, c := int(u32(at)), list[i]
			if uint64(uint32(c.Level)) != u32(at+4) || uint64(uint32(c.Type)) != u32(at+8) || !bytes.Equal(c.Data, b[at+12:at+n]) {
				t.Fatalf("% x: message %d is %+v", b, i, c)
			}
			at += (n + 3) &^ 3
		}
	})
}

// TestLengthsAllocateNothing: whatever length a program names, the memory that
// is taken is a part of what was read from it.
func TestLengthsAllocateNothing(t *testing.T) {
	huge := header(1, 0x7fffffff, MaxIovecs, ^uint64(0))
	many := header(1, 16, ^uint64(0), 0)
	long := iovecs(1, 0x7fffffffffffffff, 2, 0x7fffffffffffffff)
	small := [CompatMsghdrLen]byte(bytes.Repeat([]byte{0xff}, CompatMsghdrLen))
	past := cmsg(^uint64(0), 1, 1)
	for _, c := range []struct {
		name string
		want float64
		f    func()
	}{
		{"address too long", 0, func() { Parse(make([]byte, MaxLen+1)) }},
		{"long name, much control", 0, func() { ParseMsghdr(huge) }},
		{"many vectors", 0, func() { ParseMsghdr(many) }},
		{"long vectors", 1, func() { ParseIovecs(long) }},
		{"control message", 0, func() { NextCmsg(past) }},
		{"32-bit header", 0, func() { ExpandMsghdr(&small) }},
		{"32-bit vectors", 1, func() { ExpandIovecs(small[:]) }},
		{"32-bit control message", 0, func() { ExpandCmsgs(small[:]) }},
	} {
		if n := testing.AllocsPerRun(100, c.f); n > c.want {
			t.Errorf("%s: %v allocations, want %v", c.name, n, c.want)
		}
	}
	if v, _ := ParseIovecs(long); cap(v) != 2 {
		t.Errorf("room for %d vectors, 2 were read", cap(v))
	}
}
