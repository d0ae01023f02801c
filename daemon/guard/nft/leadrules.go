package nft

import (
	"net/netip"
	"strconv"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// How packets are led, in the order in which they meet it:
//
//   - lead puts what a jail sends to a server in a zone of the jail's own, before
//     the kernel looks for the flow that it is of;
//   - the jail's chain lets what is in such a zone pass, unless it is denied;
//   - nat has a new flow of a zone go to who answers for the jail;
//   - led drops what would leave the machine all the same, and what was not
//     translated;
//   - in, before all else, has answer keep an answer from all but the jail's sockets.
//
// The kernel knows a flow by its addresses, ports and zone. Without a zone, a jail
// could send from all ports that there are, and whoever has one of them next would
// be led as well; and what was begun before would go on to the server. Only the
// way there has one: an answer belongs to the flow whose translation it inverts.
//
// Packets that the kernel sends by itself are of no socket, and so of no zone: the
// last acknowledgment of a connection, or the error for an answer that comes too
// late, with the answer in it. They would leave for the server. Therefore no
// answer gets to where one would be made.
const (
	firstZone = 0xf000
	zones     = 0x1000
)

// chain is one with its rules.
type chain struct {
	*nftables.Chain
	rules []rule
}

var (
	lead   = filter("lead", nftables.ChainHookOutput, -350) // behind defragmentation, before anybody's raw
	led    = filter("led", nftables.ChainHookPostrouting, 0)
	answer = &nftables.Chain{Table: table, Name: "answer"}

	// Nobody's rule may translate a flow before this does.
	nat = &nftables.Chain{
		Table: table, Name: "nat", Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityRef(-199),
	}
)

func filter(name string, hook *nftables.ChainHook, priority nftables.ChainPriority) *nftables.Chain {
	return &nftables.Chain{
		Table: table, Name: name, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: nftables.ChainPriorityRef(priority),
	}
}

// leadChains are those of all levels, without what is for one level.
func leadChains() []chain {
	return []chain{
		{lead, []rule{elsewhere}},
		{nat, []rule{ip4.translate(), ip6.translate()}},
		{led, []rule{
			join(zoned(false), accept),
			join(direction(original), untranslated, drop),
			join(direction(original), leaving, drop),
		}},
		{answer, []rule{join(tcp, reset), drop}},
	}
}

// answered has answers looked at. It is inserted at in.
func answered() rule {
	return join(direction(reply), zoned(true), []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: answer.Name}})
}

// leadSets are those that leadChains and the rules of a level look into.
func leadSets(level int) []*nftables.Set {
	return []*nftables.Set{ports, ip4.servers(level), ip6.servers(level), ip4.to(), ip6.to(), owners(level)}
}

// ledRules are those of a jail's out chain when it is led.
func ledRules(s *sets, id string, group uint16) []rule {
	rules := outRules(s, id, group)
	last := len(rules) - 1
	return append(rules[:last:last], join(direction(original), zoned(true), accept), rules[last])
}

// ownAnswers lets go on what comes for the socket of a jail from who answers for
// it. A socket that is left for the kernel to close is none.
func ownAnswers(level int) rule {
	return join(zone(first), cgroupAt(level, first+1), lookup(owners(level)), []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}})
}

// zoneRules drop what cannot be put in a zone, because a rule of the machine's has
// done so or keeps it from being tracked, and put the rest there.
func zoneRules(level int) (list []netlink.Message) {
	taken := state(expr.CtStateBitNEW | expr.CtStateBitUNTRACKED)
	// It is a zone, whatever it is: without this, nft(8) lists a rule that drops all.
	some := &expr.Cmp{Op: expr.CmpOpNeq, Register: first, Data: make([]byte, 4)}
	for _, f := range []family{ip4, ip6} {
		list = append(list,
			rawRule(lead, marshal(join(taken, f.server(level), []expr.Any{some}, drop))),
			rawRule(lead, append(marshal(f.server(level)), setZone(first))),
		)
	}
	return list
}

func zone(register uint32) []expr.Any {
	return []expr.Any{&expr.Ct{Key: expr.CtKeyZONE, Register: register}}
}

// zoned says whether a packet's flow is led, or is not. What is not tracked is
// neither.
func zoned(is bool) []expr.Any {
	op := expr.CmpOpEq
	if !is {
		op = expr.CmpOpNeq
	}
	return join(zone(first), []expr.Any{
		&expr.Bitwise{
			SourceRegister: first, DestRegister: first, Len: 2,
			Mask: binaryutil.NativeEndian.PutUint16(^uint16(zones - 1)), Xor: binaryutil.NativeEndian.PutUint16(0),
		},
		&expr.Cmp{Op: op, Register: first, Data: binaryutil.NativeEndian.PutUint16(firstZone)},
	})
}

// untranslated matches what is of a flow without IPS_DST_NAT, see
// linux/netfilter/nf_conntrack_common.h.
var untranslated = []expr.Any{
	&expr.Ct{Key: expr.CtKeySTATUS, Register: first},
	&expr.Bitwise{
		SourceRegister: first, DestRegister: first, Len: 4,
		Mask: binaryutil.NativeEndian.PutUint32(1 << 5), Xor: binaryutil.NativeEndian.PutUint32(0),
	},
	&expr.Cmp{Op: expr.CmpOpEq, Register: first, Data: binaryutil.NativeEndian.PutUint32(0)},
}

// leaving matches what does not go over loopback: a socket that is bound to a
// device sends there whatever the address.
var leaving = []expr.Any{
	&expr.Meta{Key: expr.MetaKeyOIFTYPE, Register: first},
	&expr.Cmp{Op: expr.CmpOpNeq, Register: first, Data: binaryutil.NativeEndian.PutUint16(unix.ARPHRD_LOOPBACK)},
}

func cgroupAt(level int, register uint32) []expr.Any {
	return []expr.Any{&expr.Socket{Key: expr.SocketKeyCgroupv2, Level: uint32(level), Register: register}}
}

// ports are those of all servers that were ever led: most packets go to others, and
// are done with.
var ports = &nftables.Set{Table: table, Name: "ports", KeyType: nftables.TypeInetService}

var elsewhere = join([]expr.Any{
	&expr.Payload{DestRegister: first, Base: expr.PayloadBaseTransportHeader, Offset: destinationPort, Len: 2},
	&expr.Lookup{SourceRegister: first, SetName: ports.Name, Invert: true},
}, accept)

// owners are whose answers are in a zone.
func owners(level int) *nftables.Set {
	return &nftables.Set{
		Table: table, Name: "owners-" + strconv.Itoa(level), Concatenation: true,
		KeyType: nftables.MustConcatSetType(nftables.TypeMark, nftables.TypeCGroupV2),
	}
}

// family is IPv4 or IPv6.
type family struct {
	name     string // in names
	number   byte
	addr     nftables.SetDatatype
	offset   uint32 // of the destination
	register uint32 // what is behind an address at first
}

var (
	ip4 = family{"4", unix.NFPROTO_IPV4, nftables.TypeIPAddr, destination.ip4, first + 1}
	ip6 = family{"6", unix.NFPROTO_IPV6, nftables.TypeIP6Addr, destination.ip6, first + 4}
)

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return ip4
	}
	return ip6
}

func (f family) is() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: first},
		&expr.Cmp{Op: expr.CmpOpEq, Register: first, Data: []byte{f.number}},
	}
}

// servers maps those of a level's jails to the jails' zones.
func (f family) servers(level int) *nftables.Set {
	return &nftables.Set{
		Table: table, Name: "servers" + f.name + "-" + strconv.Itoa(level), IsMap: true, Concatenation: true,
		KeyType:  nftables.MustConcatSetType(nftables.TypeCGroupV2, f.addr, nftables.TypeInetProto, nftables.TypeInetService),
		DataType: nftables.TypeMark,
	}
}

// server matches what a jail sends to a server, and loads the zone at first.
func (f family) server(level int) []expr.Any {
	const addr = first + 2
	return join(f.is(), cgroupAt(level, first), []expr.Any{
		&expr.Payload{DestRegister: addr, Base: expr.PayloadBaseNetworkHeader, Offset: f.offset, Len: f.addr.Bytes},
	}, portAt(addr+f.addr.Bytes/4, destinationPort), []expr.Any{
		&expr.Lookup{SourceRegister: first, SetName: f.servers(level).Name, IsDestRegSet: true, DestRegister: first},
	})
}

// to maps zones to who answers for them. A socket of another user's is not led: it
// is that of a program that has more rights than who asked for the jail, and may
// trust a server that it knows by its address.
func (f family) to() *nftables.Set {
	return &nftables.Set{
		Table: table, Name: "to" + f.name, IsMap: true, Concatenation: true,
		KeyType:  nftables.MustConcatSetType(nftables.TypeMark, nftables.TypeUID),
		DataType: nftables.MustConcatSetType(f.addr, nftables.TypeInetService),
	}
}

func (f family) translate() rule {
	return join(f.is(), zoned(true), zone(first), []expr.Any{
		&expr.Meta{Key: expr.MetaKeySKUID, Register: first + 1},
		&expr.Lookup{SourceRegister: first, SetName: f.to().Name, IsDestRegSet: true, DestRegister: first},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(f.number), RegAddrMin: first, RegProtoMin: f.register},
	})
}
