package nft

import (
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Registers hold 32 bits each from here on; a key takes as many as it needs.
const first = unix.NFT_REG32_00

var (
	accept = []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}
	drop   = []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}

	deny = []expr.Any{&expr.Verdict{Kind: expr.VerdictGoto, Chain: denied.Name}}

	reset      = []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}
	prohibited = []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}}

	established = state(expr.CtStateBitESTABLISHED)
	related     = state(expr.CtStateBitRELATED)
	tcp         = protocol(TCP)
)

// What can make a packet go elsewhere: IPv4 with options, of which source routes
// are some, and IPv6 with a routing header. A program needs no privileges for
// either: a message's control data can have them (IP_RETOPTS, IPV6_RTHDR).
var (
	withOptions = []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: first},
		&expr.Cmp{Op: expr.CmpOpEq, Register: first, Data: []byte{unix.NFPROTO_IPV4}},
		&expr.Payload{DestRegister: first, Base: expr.PayloadBaseNetworkHeader, Offset: 0, Len: 1},
		&expr.Bitwise{SourceRegister: first, DestRegister: first, Len: 1, Mask: []byte{0x0f}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: first, Data: []byte{5}}, // words of the header
	}
	routed = []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: first},
		&expr.Cmp{Op: expr.CmpOpEq, Register: first, Data: []byte{unix.NFPROTO_IPV6}},
		&expr.Exthdr{DestRegister: first, Type: unix.IPPROTO_ROUTING, Len: 1, Flags: unix.NFT_EXTHDR_F_PRESENT, Op: expr.ExthdrOpIpv6},
		&expr.Cmp{Op: expr.CmpOpEq, Register: first, Data: []byte{1}},
	}
)

func join(parts ...[]expr.Any) []expr.Any { return slices.Concat(parts...) }

func state(bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: first},
		&expr.Bitwise{
			SourceRegister: first, DestRegister: first, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: binaryutil.NativeEndian.PutUint32(0),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: first, Data: binaryutil.NativeEndian.PutUint32(0)},
	}
}

// Directions of a packet in its flow: who sent the first one sends in the
// original direction.
const (
	original = 0 // IP_CT_DIR_ORIGINAL
	reply    = 1 // IP_CT_DIR_REPLY
)

// direction matches no packet that is not tracked.
func direction(d byte) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeyDIRECTION, Register: first},
		&expr.Cmp{Op: expr.CmpOpEq, Register: first, Data: []byte{d}},
	}
}

func protocol(p byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: first},
		&expr.Cmp{Op: expr.CmpOpEq, Register: first, Data: []byte{p}},
	}
}

// end is one of the two that a packet goes between.
type end struct{ ip4, ip6, port uint32 } // offsets in the headers

var source, destination = end{12, 8, sourcePort}, end{16, 24, destinationPort}

// Offsets in the headers of TCP and UDP.
const (
	sourcePort      = 0
	destinationPort = 2
)

// address loads an end's address, if it is of the set's family, and returns the
// register behind it.
func (e end) address(s *nftables.Set) ([]expr.Any, uint32) {
	family, offset, length := byte(unix.NFPROTO_IPV4), e.ip4, uint32(4)
	if s.KeyType.Bytes > 12 {
		family, offset, length = unix.NFPROTO_IPV6, e.ip6, 16
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: first},
		&expr.Cmp{Op: expr.CmpOpEq, Register: first, Data: []byte{family}},
		&expr.Payload{DestRegister: first, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length},
	}, first + length/4
}

// to matches packets of TCP and UDP whose end is in the set. Those of another
// protocol may have anything where a port would be: no element is of theirs that
// has one.
func to(s *nftables.Set, e end) []expr.Any {
	load, next := e.address(s)
	return join(load, portAt(next, e.port), lookup(s))
}

// ping matches echo requests, which have their type and code where others have
// the port they come from.
func ping(s *nftables.Set, e end) []expr.Any {
	p := byte(ICMP)
	if s.KeyType.Bytes > 12 {
		p = ICMPv6
	}
	load, next := e.address(s)
	return join(protocol(p), load, portAt(next, sourcePort), lookup(s))
}

// port matches packets whose port is in a set of the jail's own ports.
func port(s *nftables.Set, offset uint32) []expr.Any {
	return join(portAt(first, offset), lookup(s))
}

func portAt(register, offset uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register},
		&expr.Payload{DestRegister: register + 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
	}
}

func lookup(s *nftables.Set) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: first, SetName: s.Name}}
}

// Of what a jail is not let out, so much is told in a second, and so much at
// once.
const logRate, logBurst = 50, 100

// snapLen is how much of a packet is logged: the headers up to the ports.
const snapLen = 64

func logged(id string, group uint16) []expr.Any {
	const keys = 1<<unix.NFTA_LOG_GROUP | 1<<unix.NFTA_LOG_PREFIX | 1<<unix.NFTA_LOG_SNAPLEN
	return []expr.Any{
		&expr.Limit{Type: expr.LimitTypePkts, Rate: logRate, Unit: expr.LimitTimeSecond, Burst: logBurst},
		&expr.Log{Key: keys, Group: group, Snaplen: snapLen, Data: []byte(logPrefix + id)},
	}
}

// logPrefix comes before a jail's id in what is logged.
const logPrefix = "netjail:"
