package sockaddr

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// cmsg32 is a 32-bit control message.
func cmsg32(length uint32, level, typ uint32, data ...byte) []byte {
	var b []byte
	for _, v := range []uint32{length, level, typ} {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	b = append(b, data...)
	return append(b, make([]byte, -len(b)&3)...)
}

func TestExpandCmsgs(t *testing.T) {
	list := append(cmsg32(13, 0, 1, 0x10), cmsg32(16, 1, 1, 1, 2, 3, 4)...)
	b, errno := ExpandCmsgs(list)
	if errno != 0 {
		t.Fatal(errno)
	}
	for _, want := range []Cmsg{{0, 1, []byte{0x10}}, {1, 1, []byte{1, 2, 3, 4}}} {
		c, rest, ok, errno := NextCmsg(b)
		if !ok || errno != 0 || c.Level != want.Level || c.Type != want.Type || !bytes.Equal(c.Data, want.Data) {
			t.Errorf("got %+v, %v, %v; want %+v", c, ok, errno, want)
		}
		b = rest
	}
	if len(b) != 0 {
		t.Errorf("%d bytes are left", len(b))
	}
	for name, bad := range map[string][]byte{
		"nothing": {}, "less than a header": list[:11], "shorter than its header": cmsg32(11, 0, 1),
		"past the end": cmsg32(17, 0, 1, 1, 2, 3, 4), "huge": cmsg32(0xffffffff, 0, 1), "second past the end": list[:len(list)-1],
	} {
		if _, errno := ExpandCmsgs(bad); errno != unix.EINVAL {
			t.Errorf("%s: got %v, want EINVAL", name, errno)
		}
	}
}

func TestExpandIovecs(t *testing.T) {
	var b []byte
	for _, v := range []uint32{0x1000, 5, 0xfffffff0, 7} {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	got, errno := ParseIovecs(ExpandIovecs(b))
	if errno != 0 || len(got) != 2 || got[0] != (Iovec{0x1000, 5}) || got[1] != (Iovec{0xfffffff0, 7}) {
		t.Errorf("got %+v, %v", got, errno)
	}
	binary.NativeEndian.PutUint32(b[4:], 0x80000000)
	if _, errno := ParseIovecs(ExpandIovecs(b)); errno != unix.EINVAL {
		t.Errorf("a negative length: got %v, want EINVAL", errno)
	}
}

func TestExpandMsghdr(t *testing.T) {
	var b [CompatMsghdrLen]byte
	for i, v := range []uint32{0x1000, 200, 0x2000, 3, 0x3000, 40, 0} {
		binary.NativeEndian.PutUint32(b[4*i:], v)
	}
	wide := ExpandMsghdr(&b)
	got, errno := ParseMsghdr(wide[:])
	want := Msghdr{Name: 0x1000, NameLen: MaxLen, Iov: 0x2000, IovLen: 3, Control: 0x3000, ControlLen: 40}
	if errno != 0 || got != want {
		t.Errorf("got %+v, %v; want %+v", got, errno, want)
	}
	binary.NativeEndian.PutUint32(b[4:], 0xffffffff)
	wide = ExpandMsghdr(&b)
	if _, errno := ParseMsghdr(wide[:]); errno != unix.EINVAL {
		t.Errorf("a negative name length: got %v, want EINVAL", errno)
	}
}

// FuzzExpandCmsgs: what a 32-bit program sends is as long as what is parsed of
// it, and what cannot be parsed is refused.
func FuzzExpandCmsgs(f *testing.F) {
	f.Add(append(cmsg32(13, 0, 1, 0x10), cmsg32(16, 1, 1, 1, 2, 3, 4)...))
	f.Add(cmsg32(0xffffffff, 1, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		wide, errno := ExpandCmsgs(b)
		if errno != 0 {
			return
		}
		if len(wide) > 2*len(b) {
			t.Fatalf("%d bytes became %d", len(b), len(wide))
		}
		for len(wide) > 0 {
			_, rest, ok, errno := NextCmsg(wide)
			if !ok || errno != 0 {
				t.Fatalf("the native parser says %v, %v", ok, errno)
			}
			wide = rest
		}
	})
}
