package nft

import (
	"strconv"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// side is one direction of packets, as a jail sees it.
type side struct {
	name     string // in names
	hook     *nftables.ChainHook
	priority *nftables.ChainPriority
}

// What leaves is looked at before a rule of the machine's own may translate its
// destination (-100), but when it is known which flow it belongs to (-200): what
// was allowed is the address that the program has. What arrives is looked at last.
var (
	out   = side{"out", nftables.ChainHookOutput, nftables.ChainPriorityMangle}
	in    = side{"in", nftables.ChainHookInput, nftables.ChainPriorityFilter}
	sides = [...]side{out, in}
)

var table = &nftables.Table{Family: nftables.TableFamilyINet, Name: Name}

// base is the chain that the kernel enters.
func (s side) base() *nftables.Chain {
	accept := nftables.ChainPolicyAccept
	return &nftables.Chain{
		Table: table, Name: s.name, Type: nftables.ChainTypeFilter, Hooknum: s.hook, Priority: s.priority, Policy: &accept,
	}
}

// jails maps cgroups of a level to their jails' chains: however many there are,
// a packet costs one lookup for each level.
func (s side) jails(level int) *nftables.Set {
	if level == Alone {
		return s.open()
	}
	return &nftables.Set{
		Table: table, Name: s.name + "-" + strconv.Itoa(level), IsMap: true,
		KeyType: nftables.TypeCGroupV2, DataType: nftables.TypeVerdict, KeyByteOrder: binaryutil.NativeEndian,
	}
}

// dispatch leads the packets of a level's jails to their chains. A socket that
// is in no cgroup of that level, or a packet without a socket, goes on.
func (s side) dispatch(level int) *nftables.Rule {
	var key expr.Any = &expr.Socket{Key: expr.SocketKeyCgroupv2, Level: uint32(level), Register: unix.NFT_REG_1}
	if level == Alone {
		key = &expr.Meta{Key: expr.MetaKeyNFPROTO, Register: unix.NFT_REG_1}
	}
	return s.rule(s.base(), []expr.Any{
		key,
		&expr.Lookup{SourceRegister: unix.NFT_REG_1, SetName: s.jails(level).Name, IsDestRegSet: true, DestRegister: unix.NFT_REG_VERDICT},
	})
}

func (side) rule(c *nftables.Chain, e []expr.Any) *nftables.Rule {
	return &nftables.Rule{Table: table, Chain: c, Exprs: e}
}

// chain is a jail's.
func (s side) chain(j Jail) *nftables.Chain {
	return &nftables.Chain{Table: table, Name: "jail-" + j.ID + "-" + s.name}
}

// element is a jail's in the map of its level.
func (s side) element(j Jail) []nftables.SetElement {
	chain := &expr.Verdict{Kind: expr.VerdictGoto, Chain: s.chain(j).Name}
	if j.Level == Alone {
		return families(chain)
	}
	return []nftables.SetElement{{Key: binaryutil.NativeEndian.PutUint64(j.Cgroup), VerdictData: chain}}
}

// sets are what a jail has been told.
type sets struct{ allow4, allow6, deny4, deny6, listen *nftables.Set }

func (s *sets) all() []*nftables.Set {
	return []*nftables.Set{s.allow4, s.allow6, s.deny4, s.deny6, s.listen}
}

func setsOf(j Jail) *sets {
	set := func(name string, size uint32, types ...nftables.SetDatatype) *nftables.Set {
		types = append(types, nftables.TypeInetProto, nftables.TypeInetService)
		return &nftables.Set{
			Table: table, Name: "jail-" + j.ID + "-" + name, HasTimeout: true, Concatenation: true, Size: size,
			KeyType: nftables.MustConcatSetType(types...),
		}
	}
	return &sets{
		allow4: set("allow4", MaxAllowed, nftables.TypeIPAddr), allow6: set("allow6", MaxAllowed, nftables.TypeIP6Addr),
		deny4: set("deny4", MaxDenied, nftables.TypeIPAddr), deny6: set("deny6", MaxDenied, nftables.TypeIP6Addr),
		listen: set("listen", MaxListen),
	}
}

// rules are what is done with a jail's packets, in this order. What none of them
// speaks of is dropped.
func (s side) rules(j Jail, group uint16) (list [][]expr.Any) {
	if j.Level == Alone {
		list = s.aloneRules(j)
	}
	if s.name == out.name {
		return append(list, outRules(setsOf(j), j.ID, group)...)
	}
	return append(list, inRules(setsOf(j))...)
}

// outRules let answers out to those who may ask, and ask of those who may be
// asked. A flow goes on when its element has run out. When it was denied it does
// not, and its program is told: by a packet that the kernel makes, which is found
// to be the jail's, too, and is related to what was sent. No program can make one.
// Nothing goes out that a router may send elsewhere than to its destination.
func outRules(s *sets, id string, group uint16) [][]expr.Any {
	return [][]expr.Any{
		join(withOptions, drop),
		join(routed, drop),
		join(established, direction(reply), port(s.listen, sourcePort), accept),
		join(related, direction(reply), accept),
		join(direction(reply), drop),
		join(to(s.deny4, destination), deny),
		join(to(s.deny6, destination), deny),
		join(ping(s.deny4, destination), deny),
		join(ping(s.deny6, destination), deny),
		join(established, direction(original), accept),
		join(to(s.allow4, destination), accept),
		join(to(s.allow6, destination), accept),
		join(ping(s.allow4, destination), accept),
		join(ping(s.allow6, destination), accept),
		logged(id, group),
	}
}

// denied is where packets go that are answered for. A connection is ended, or
// refused; other packets are answered as by a router that filters.
var denied = &nftables.Chain{Table: table, Name: "denied"}

func deniedRules() [][]expr.Any { return [][]expr.Any{join(tcp, reset), prohibited} }

// inRules let in what begins at a port that may be reached, answers, and errors
// about what was sent, for which the reset of outRules stands.
func inRules(s *sets) [][]expr.Any {
	return [][]expr.Any{
		join(direction(original), port(s.listen, destinationPort), accept),
		join(related, direction(reply), tcp, accept),
		join(to(s.deny4, source), drop),
		join(to(s.deny6, source), drop),
		join(established, direction(reply), accept),
		join(related, protocol(ICMP), accept),
		join(related, protocol(ICMPv6), accept),
	}
}
