package nft

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// A jail that is Alone needs no zone to be led by, and no user: all flows are its
// own. What goes to a server is let out of the jail's chain, unless the server is
// denied, and translated then, at a priority that is the kernel's own for all
// translation. What was begun before is not translated, and does not go on; what was
// does not leave.

// leadAlone leads a jail that is Alone as next says. t.mu is held.
func (t *Table) leadAlone(j Jail, next *leading) error {
	old := t.led[j.ID]
	err := t.batchLocked(func(c *nftables.Conn) error {
		if old == nil {
			if err := addAloneLead(c); err != nil {
				return err
			}
		} else if err := old.alone(c.SetDeleteElements); err != nil {
			return err
		}
		c.FlushChain(out.chain(j))
		for _, r := range append(aloneLed(out.rules(j, t.group)), drop) {
			c.AddRule(out.rule(out.chain(j), r))
		}
		return next.alone(c.SetAddElements)
	})
	if err == nil {
		t.led[j.ID] = next
	}
	return err
}

// addAloneLead makes what leads a jail that is Alone.
func addAloneLead(c *nftables.Conn) error {
	for _, f := range []family{ip4, ip6} {
		if err := c.AddSet(f.instead(), nil); err != nil {
			return err
		}
	}
	chains := []chain{
		{nat, []rule{ip4.translateAlone(), ip6.translateAlone()}},
		{led, []rule{
			join(ip4.answersInstead(), ip4.some(), drop),
			join(ip6.answersInstead(), ip6.some(), drop),
			join(direction(original), translated, leaving, drop),
		}},
	}
	for _, ch := range chains {
		c.AddChain(ch.Chain)
		for _, r := range ch.rules {
			c.AddRule(&nftables.Rule{Table: table, Chain: ch.Chain, Exprs: r})
		}
	}
	return nil
}

// aloneLed are the rules of the out chain, the last of which logs what is dropped,
// when the jail is led.
func aloneLed(rules []rule) []rule {
	last := len(rules) - 1
	return append(rules[:last:last],
		join(direction(original), ip4.answersInstead(), ip4.some(), accept),
		join(direction(original), ip6.answersInstead(), ip6.some(), accept),
		rules[last],
	)
}

// some matches whatever port was loaded: without it, nft(8) lists a rule that drops
// all.
func (f family) some() []expr.Any {
	return []expr.Any{&expr.Cmp{Op: expr.CmpOpNeq, Register: f.register, Data: make([]byte, 4)}}
}

// translated is the contrary of untranslated.
var translated = join(untranslated[:2], []expr.Any{&expr.Cmp{Op: expr.CmpOpNeq, Register: first, Data: make([]byte, 4)}})

// instead maps servers to who answers in their place.
func (f family) instead() *nftables.Set {
	return &nftables.Set{
		Table: table, Name: "servers" + f.name, IsMap: true, Concatenation: true,
		KeyType:  nftables.MustConcatSetType(f.addr, nftables.TypeInetProto, nftables.TypeInetService),
		DataType: nftables.MustConcatSetType(f.addr, nftables.TypeInetService),
	}
}

// answersInstead matches what goes to a server, and loads who answers at first.
func (f family) answersInstead() []expr.Any {
	return join(f.is(), []expr.Any{
		&expr.Payload{DestRegister: first, Base: expr.PayloadBaseNetworkHeader, Offset: f.offset, Len: f.addr.Bytes},
	}, portAt(f.register, destinationPort), []expr.Any{
		&expr.Lookup{SourceRegister: first, SetName: f.instead().Name, IsDestRegSet: true, DestRegister: first},
	})
}

func (f family) translateAlone() rule {
	return join(f.answersInstead(), []expr.Any{
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(f.number), RegAddrMin: first, RegProtoMin: f.register},
	})
}

// alone does something with the elements of instead.
func (l *leading) alone(do func(*nftables.Set, []nftables.SetElement) error) error {
	list := make(map[family][]nftables.SetElement)
	for s := range l.servers {
		f := familyOf(s.Addr())
		for _, network := range []uint8{UDP, TCP} {
			d := Dest{Network: network, Addr: s.Addr(), Port: s.Port()}
			list[f] = append(list[f], nftables.SetElement{Key: d.key(), Val: at(l.to[f])})
		}
	}
	for f, elements := range list {
		if err := each(elements, func(part []nftables.SetElement) error { return do(f.instead(), part) }); err != nil {
			return err
		}
	}
	return nil
}
