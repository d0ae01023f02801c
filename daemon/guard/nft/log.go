package nft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Dropped is a packet that a jail was not allowed to send.
type Dropped struct {
	Jail string
	Dest Dest
}

// Log reads what the kernel logs of packets that were dropped. What is not read
// in time is lost.
type Log struct{ conn *netlink.Conn }

// Of linux/netfilter/nfnetlink_log.h.
const (
	ulogPacket = unix.NFNL_SUBSYS_ULOG << 8
	ulogConfig = unix.NFNL_SUBSYS_ULOG<<8 | 1

	cfgCommand   = 1 // struct nfulnl_msg_config_cmd
	cfgMode      = 2 // struct nfulnl_msg_config_mode
	cfgThreshold = 5
	commandBind  = 1
	copyPacket   = 2

	ulaPayload = 9
	ulaPrefix  = 10
)

// OpenLog begins to read a group, which nobody else does.
func OpenLog(group uint16) (*Log, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	if _, err := conn.Execute(bind(group)); err != nil {
		conn.Close()
		return nil, fmt.Errorf("read log group %d: %w", group, err)
	}
	return &Log{conn}, nil
}

// bind asks for each packet of a group as soon as it is there.
func bind(group uint16) netlink.Message {
	attributes, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: cfgCommand, Data: []byte{commandBind}},
		{Type: cfgMode, Data: []byte{0, 0, 0, snapLen, copyPacket, 0}},
		{Type: cfgThreshold, Data: []byte{0, 0, 0, 1}},
	})
	if err != nil {
		panic(err) // of constants
	}
	return netlink.Message{
		Header: netlink.Header{Type: ulogConfig, Flags: netlink.Request | netlink.Acknowledge},
		Data:   append([]byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, byte(group >> 8), byte(group)}, attributes...),
	}
}

// Read waits for packets. It ends with an error when the log was closed.
func (l *Log) Read() ([]Dropped, error) {
	messages, err := l.conn.Receive()
	if errors.Is(err, unix.ENOBUFS) {
		return nil, nil // some were lost
	}
	if err != nil {
		return nil, fmt.Errorf("read the log: %w", err)
	}
	var list []Dropped
	for _, m := range messages {
		if m.Header.Type != ulogPacket {
			continue
		}
		if d, ok := decodeDropped(m.Data); ok {
			list = append(list, d)
		}
	}
	return list, nil
}

// Close ends Read.
func (l *Log) Close() error { return l.conn.Close() }

// decodeDropped reads a message behind its header. What is no jail's, or no
// packet that could be allowed, is not ok.
func decodeDropped(b []byte) (d Dropped, ok bool) {
	const nfgenmsg = 4
	if len(b) < nfgenmsg {
		return d, false
	}
	attributes, err := netlink.UnmarshalAttributes(b[nfgenmsg:])
	if err != nil {
		return d, false
	}
	for _, a := range attributes {
		switch a.Type {
		case ulaPrefix:
			prefix, _, _ := bytes.Cut(a.Data, []byte{0})
			if d.Jail, ok = strings.CutPrefix(string(prefix), logPrefix); !ok {
				return d, false
			}
		case ulaPayload:
			d.Dest = decodePacket(a.Data)
		}
	}
	return d, d.Jail != "" && d.Dest.Check(false) == nil
}

// decodePacket reads where a packet goes. Of IPv6 with further headers only the
// address is read: such are not let out by anything that could be allowed.
func decodePacket(b []byte) (d Dest) {
	if len(b) == 0 {
		return d
	}
	switch b[0] >> 4 {
	case 4:
		header := int(b[0]&15) * 4
		if len(b) < 20 || header < 20 || len(b) < header {
			return d
		}
		d.Network, d.Addr = b[9], netip.AddrFrom4([4]byte(b[16:]))
		if binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
			return d // a fragment, without ports
		}
		b = b[header:]
	case 6:
		if len(b) < 40 {
			return d
		}
		d.Network, d.Addr = b[6], netip.AddrFrom16([16]byte(b[24:]))
		b = b[40:]
	default:
		return d
	}
	if (d.Network == TCP || d.Network == UDP) && len(b) >= 4 {
		d.Port = binary.BigEndian.Uint16(b[destinationPort:])
	}
	return d
}
