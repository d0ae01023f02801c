package flows

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// message frames a payload.
func message(typ uint16, payload []byte) []byte {
	b := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(payload))
	binary.NativeEndian.PutUint32(b, uint32(cap(b)))
	binary.NativeEndian.PutUint16(b[4:], typ)
	b = append(b, payload...)
	return append(b, make([]byte, align(len(b))-len(b))...)
}

// diag is a socket as the kernel tells of it, with n bytes of its statistics.
func diag(n int) []byte {
	b := make([]byte, diagLen)
	b[0], b[diagState] = unix.AF_INET6, stateEstablished
	copy(b[diagLocal:], netip.MustParseAddr("fe80::1").AsSlice())
	copy(b[diagRemote:], netip.MustParseAddr("2001:db8::2").AsSlice())
	binary.BigEndian.PutUint16(b[diagLocalPort:], 40000)
	binary.BigEndian.PutUint16(b[diagRemotePort:], 443)
	b[diagInterface], b[diagCookie], b[diagCookie+4], b[diagInode] = 3, 1, 1, 77
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		panic("these numbers are little-endian")
	}
	if n == 0 {
		return b
	}
	info := make([]byte, 248)
	info[infoAcked], info[infoReceived], info[infoSent], info[infoRetrans] = 11, 22, 33, 3
	attr := func(typ uint16, data []byte) {
		head := make([]byte, unix.SizeofNlAttr)
		binary.NativeEndian.PutUint16(head, uint16(len(head)+len(data)))
		binary.NativeEndian.PutUint16(head[2:], typ)
		b = append(append(b, head...), data...)
		b = append(b, make([]byte, align(len(b))-len(b))...)
	}
	attr(8, []byte{0})
	attr(diagInfo, info[:n])
	return b
}

func TestDecode(t *testing.T) {
	plain := socket{
		local: netip.MustParseAddrPort("[fe80::1%3]:40000"), remote: netip.MustParseAddrPort("[2001:db8::2]:443"),
		state: stateEstablished, inode: 77, cookie: 1<<32 | 1,
	}
	counted := func(sent, received uint64) socket {
		d := plain
		d.known, d.sent, d.received = true, sent, received
		return d
	}
	end := message(unix.NLMSG_DONE, make([]byte, 4))
	failure := make([]byte, 4)
	refused := unix.ENOENT
	binary.NativeEndian.PutUint32(failure, uint32(-int32(refused)))
	sock := func(n int) []byte { return message(unix.SOCK_DIAG_BY_FAMILY, diag(n)) }
	tests := []struct {
		name string
		in   []byte
		want []socket
		done bool
		err  error
	}{
		{"nothing", nil, nil, false, nil},
		{"no statistics", sock(0), []socket{plain}, false, nil},
		{"statistics", sock(248), []socket{counted(30, 22)}, false, nil},
		{"of Linux 4.1", sock(infoReceived + 8), []socket{counted(11, 22)}, false, nil},
		{"before Linux 4.1", sock(infoReceived), []socket{plain}, false, nil},
		{"several and the end", slices.Concat(sock(0), sock(248), end), []socket{plain, counted(30, 22)}, true, nil},
		{"an end without a number", message(unix.NLMSG_DONE, nil), nil, true, nil},
		{"others", message(unix.NLMSG_NOOP, []byte("abc")), nil, false, nil},
		{"refused", message(unix.NLMSG_ERROR, failure), nil, true, unix.ENOENT},
		{"failed at the end", slices.Concat(sock(0), message(unix.NLMSG_DONE, failure)), []socket{plain}, true, unix.ENOENT},
		{"half a header", end[:10], nil, false, errTruncated},
		{"half a message", sock(0)[:60], nil, false, errTruncated},
		{"half a socket", message(unix.SOCK_DIAG_BY_FAMILY, diag(0)[:70]), nil, false, errTruncated},
		{"half an attribute", message(unix.SOCK_DIAG_BY_FAMILY, diag(248)[:200]), nil, false, errTruncated},
		{"an attribute of no length", message(unix.SOCK_DIAG_BY_FAMILY, append(diag(0), 0, 0, 2, 0)), nil, false, errTruncated},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, done, err := decode(nil, tt.in)
			if !reflect.DeepEqual(got, tt.want) || done != tt.done || !errors.Is(err, tt.err) {
				t.Errorf("got %+v, %v, %v\nwant %+v, %v, %v", got, done, err, tt.want, tt.done, tt.err)
			}
		})
	}
}

// FuzzDecode: whatever comes is read without more, and a part that is read
// whole is read the same behind another.
func FuzzDecode(f *testing.F) {
	f.Add(message(unix.SOCK_DIAG_BY_FAMILY, diag(248)))
	f.Add(slices.Concat(message(unix.SOCK_DIAG_BY_FAMILY, diag(0)), message(unix.NLMSG_DONE, make([]byte, 4))))
	f.Add(message(unix.NLMSG_ERROR, []byte{254, 255, 255, 255}))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, done, err := decode(nil, b)
		if len(list) > len(b)/diagLen {
			t.Fatalf("%d sockets in %d bytes", len(list), len(b))
		}
		for _, d := range list {
			if !d.local.Addr().IsValid() || !d.remote.Addr().IsValid() || d.sent != 0 && !d.known {
				t.Errorf("got %+v", d)
			}
		}
		first := message(unix.SOCK_DIAG_BY_FAMILY, diag(0))
		both, done2, err2 := decode(nil, append(slices.Clone(first), b...))
		if len(both) != len(list)+1 || !reflect.DeepEqual(both[1:], append([]socket{}, list...)) || done != done2 || (err == nil) != (err2 == nil) {
			t.Errorf("got %d sockets, %v, %v behind another, want %d, %v, %v", len(both)-1, done2, err2, len(list), done, err)
		}
	})
}

func TestInode(t *testing.T) {
	tests := []struct {
		link string
		want uint64
		ok   bool
	}{
		{"socket:[4711]", 4711, true},
		{"socket:[4294967295]", 4294967295, true},
		{"socket:[]", 0, false},
		{"socket:[47", 0, false},
		{"socket:[4x]", 0, false},
		{"socket:[99999999999999999999999]", 0, false},
		{"pipe:[4711]", 0, false},
		{"/tmp/socket:[4711]", 0, false},
		{"", 0, false},
	}
	for _, tt := range tests {
		if got, ok := inodeOf([]byte(tt.link)); got != tt.want && ok || ok != tt.ok {
			t.Errorf("%q: got %d, %v, want %d, %v", tt.link, got, ok, tt.want, tt.ok)
		}
	}
}
