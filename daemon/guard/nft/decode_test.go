package nft

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// packet is an IP packet with the beginning of what it carries.
func packet(to string, proto byte, port uint16) []byte {
	addr := netip.MustParseAddr(to)
	var b []byte
	if addr.Is4() {
		b = make([]byte, 20)
		b[0], b[9] = 0x45, proto
		copy(b[16:], addr.AsSlice())
	} else {
		b = make([]byte, 40)
		b[0], b[6] = 0x60, proto
		copy(b[24:], addr.AsSlice())
	}
	return append(b, 0x99, 0x99, byte(port>>8), byte(port), 0, 0, 0, 0)
}

// told is a message of the kernel's log.
func told(t testing.TB, prefix string, packet []byte) []byte {
	b, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: 1, Data: []byte{8, 0, 3, 0}}, // struct nfulnl_msg_packet_hdr
		{Type: ulaPrefix, Data: append([]byte(prefix), 0)},
		{Type: ulaPayload, Data: packet},
	})
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{unix.AF_INET, 0, 0, 0}, b...)
}

func TestDecodeDropped(t *testing.T) {
	fragment := packet("192.0.2.1", UDP, 53)
	fragment[7] = 1
	options := append([]byte{0x46}, packet("192.0.2.1", UDP, 53)[1:20]...)
	options = append(options, 0, 0, 0, 0, 1, 2, 0, 53)
	tests := []struct {
		name   string
		in     []byte
		want   Dropped
		wantOK bool
	}{
		{"tcp", told(t, "netjail:a1", packet("192.0.2.1", TCP, 443)), Dropped{"a1", dest(TCP, "192.0.2.1", 443, 0)}, true},
		{"udp6", told(t, "netjail:a1", packet("2001:db8::1", UDP, 53)), Dropped{"a1", dest(UDP, "2001:db8::1", 53, 0)}, true},
		{"ping", told(t, "netjail:a1", packet("192.0.2.1", ICMP, 0)), Dropped{"a1", dest(ICMP, "192.0.2.1", 0, 0)}, true},
		{"options", told(t, "netjail:a1", options), Dropped{"a1", dest(UDP, "192.0.2.1", 53, 0)}, true},
		{"fragment", told(t, "netjail:a1", fragment), Dropped{}, false},
		{"sctp", told(t, "netjail:a1", packet("192.0.2.1", 132, 80)), Dropped{}, false},
		{"short", told(t, "netjail:a1", packet("192.0.2.1", TCP, 443)[:22]), Dropped{}, false},
		{"shorter", told(t, "netjail:a1", packet("192.0.2.1", TCP, 443)[:12]), Dropped{}, false},
		{"no packet", told(t, "netjail:a1", nil), Dropped{}, false},
		{"somebody else's", told(t, "fw:a1", packet("192.0.2.1", TCP, 443)), Dropped{}, false},
		{"nobody's", told(t, "", packet("192.0.2.1", TCP, 443)), Dropped{}, false},
		{"nothing", nil, Dropped{}, false},
	}
	for _, tt := range tests {
		got, ok := decodeDropped(tt.in)
		if ok != tt.wantOK || ok && got != tt.want {
			t.Errorf("%s: got %+v, %v, want %+v, %v", tt.name, got, ok, tt.want, tt.wantOK)
		}
	}
}

// FuzzDecodeDropped: what is taken for a destination is one that can be allowed.
func FuzzDecodeDropped(f *testing.F) {
	f.Add(told(f, "netjail:a1", packet("192.0.2.1", TCP, 443)))
	f.Add(told(f, "netjail:a1", packet("2001:db8::1", ICMPv6, 0)))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, ok := decodeDropped(b)
		if ok && (d.Jail == "" || d.Dest.Check(false) != nil) {
			t.Errorf("got %+v", d)
		}
	})
}

func TestDecodeSocket(t *testing.T) {
	b := make([]byte, msgLen)
	b[0], b[1] = unix.AF_INET6, 1
	binary.BigEndian.PutUint16(b[4:], 40000)
	binary.BigEndian.PutUint16(b[6:], 443)
	copy(b[8:], netip.MustParseAddr("::ffff:192.0.2.9").AsSlice())
	copy(b[24:], netip.MustParseAddr("::ffff:192.0.2.1").AsSlice())
	want := Socket{TCP, netip.MustParseAddrPort("192.0.2.9:40000"), netip.MustParseAddrPort("192.0.2.1:443")}
	if got, ok := decodeSocket(b, TCP); !ok || got != want {
		t.Errorf("got %+v, %v, want %+v", got, ok, want)
	}
	if got, ok := decodeSocket(b[:50], TCP); ok {
		t.Errorf("half of it: got %+v", got)
	}
	binary.BigEndian.PutUint16(b[6:], 0)
	if got, ok := decodeSocket(b, TCP); ok {
		t.Errorf("not connected: got %+v", got)
	}
}
