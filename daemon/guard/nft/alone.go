package nft

import (
	"fmt"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Alone is the Level of a jail that has this network namespace for itself: all
// packets are its own, and no cgroup is looked at. It keeps these properties:
//
//   - What is open is so for Grace, and closed by itself when nobody says by
//     Table.Keep that it is to stay. Packets are led to the jail's chain by elements
//     that run out; what is not led there is dropped.
//   - What goes over loopback is judged where it leaves, like all that does, and
//     let in where it was let out to, if that is not the jail itself. What comes to a
//     port that may be reached is let out in any case, and judged where it arrives:
//     such as an uplink that hands on what came from outside to a port of loopback
//     (pasta's) cannot be told from the jail.
//   - A port that may be reached is one of sockets with the mark Mark, which are
//     reached in no other way. An uplink that listens on loopback in place of
//     somebody outside has sockets without.
//   - Whoever listens at Jail.Resolver on loopback is asked by all, and answers.
const Alone = -1

// Mark is on sockets of a jail that is Alone, where they may be reached over
// loopback: SO_MARK of socket(7), which no program in it can set.
const Mark = 0x6e6a

// Grace is how long a jail that is Alone is open without Keep.
const Grace = 10 * time.Second

// Keep keeps a jail that is Alone open for another Grace.
func (t *Table) Keep(j Jail) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.batchLocked(func(c *nftables.Conn) error {
		for _, s := range sides {
			if err := put(c, s.jails(j.Level), s.element(j)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep jail %s: %w", j.ID, err)
	}
	return nil
}

// closed is base where nothing passes but what is led elsewhere.
func (s side) closed() *nftables.Chain {
	c, drop := s.base(), nftables.ChainPolicyDrop
	c.Policy = &drop
	return c
}

// open maps the families of packets to the jail's chain, for as long as it is kept.
func (s side) open() *nftables.Set {
	return &nftables.Set{
		Table: table, Name: s.name + "-open", IsMap: true, HasTimeout: true,
		KeyType: nftables.TypeNFProto, DataType: nftables.TypeVerdict,
	}
}

// families are the elements of open.
func families(v *expr.Verdict) (list []nftables.SetElement) {
	for _, f := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		list = append(list, nftables.SetElement{Key: []byte{f}, VerdictData: v, Timeout: Grace})
	}
	return list
}

// aloneRules come before the others of a jail that is Alone.
func (s side) aloneRules(j Jail) []rule {
	sets := setsOf(j)
	if s.name == out.name {
		return []rule{
			join(outLoopback, direction(reply), accept),
			join(outLoopback, direction(original), portIs(j.Resolver), accept),
			join(outLoopback, direction(original), port(sets.listen, destinationPort), accept),
			join(neighbours, accept),
		}
	}
	begun := join(inLoopback, direction(original))
	return []rule{
		join(begun, portIs(j.Resolver), accept),
		join(begun, port(sets.listen, destinationPort), marked, accept),
		join(begun, marked, drop),
		join(begun, to(sets.deny4, destination), drop),
		join(begun, to(sets.deny6, destination), drop),
		join(begun, established, accept),
		join(begun, to(sets.allow4, destination), accept),
		join(begun, to(sets.allow6, destination), accept),
		join(begun, ping(sets.allow4, destination), accept),
		join(begun, ping(sets.allow6, destination), accept),
		join(begun, drop),
		join(neighbours, accept),
	}
}

var (
	outLoopback = loopback(expr.MetaKeyOIFTYPE)
	inLoopback  = loopback(expr.MetaKeyIIFTYPE)

	marked = []expr.Any{
		&expr.Socket{Key: expr.SocketKeyMark, Register: first},
		&expr.Cmp{Op: expr.CmpOpEq, Register: first, Data: binaryutil.NativeEndian.PutUint32(Mark)},
	}

	// How the kernel finds who is next on the way, and whether an address is free.
	// No program can send any of it, nor is it let out of the namespace.
	neighbours = join(protocol(ICMPv6), []expr.Any{
		&expr.Payload{DestRegister: first, Base: expr.PayloadBaseTransportHeader, Len: 1},
		&expr.Range{Op: expr.CmpOpEq, Register: first, FromData: []byte{133}, ToData: []byte{136}},
	})
)

func loopback(key expr.MetaKey) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: first},
		&expr.Cmp{Op: expr.CmpOpEq, Register: first, Data: binaryutil.NativeEndian.PutUint16(unix.ARPHRD_LOOPBACK)},
	}
}

// portIs matches packets of TCP and UDP to a port. Of what has a number between
// the two no program can send anything.
func portIs(n uint16) []expr.Any {
	return join([]expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: first},
		&expr.Range{Op: expr.CmpOpEq, Register: first, FromData: []byte{TCP}, ToData: []byte{UDP}},
	}, []expr.Any{
		&expr.Payload{DestRegister: first, Base: expr.PayloadBaseTransportHeader, Offset: destinationPort, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: first, Data: []byte{byte(n >> 8), byte(n)}},
	})
}
