package nft

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"golang.org/x/sys/unix"
)

// Lead is who answers in place of servers. What sockets of the user's send to a
// server, by UDP or TCP, goes to To; the answers come from the server, as far as
// the program can see.
type Lead struct {
	User    uint32 // of the jail
	To      netip.AddrPort
	Servers []netip.AddrPort
}

// Check says what is wrong with it. Only a loopback address is led to: nothing
// that was meant for one machine is sent to another.
func (l *Lead) Check() error {
	if !l.To.Addr().IsLoopback() || l.To.Addr().Is4In6() || l.To.Addr().Zone() != "" || l.To.Port() == 0 {
		return fmt.Errorf("%s is no port on loopback", l.To)
	}
	if len(l.Servers) == 0 || len(l.Servers) > MaxLed {
		return fmt.Errorf("%d servers; 1 to %d are led", len(l.Servers), MaxLed)
	}
	for _, s := range l.Servers {
		if !s.IsValid() || s.Addr().Is4() != l.To.Addr().Is4() || s.Addr().Is4In6() || s.Addr().Zone() != "" || s.Port() == 0 {
			return fmt.Errorf("server %s cannot be led to %s", s, l.To)
		}
	}
	return nil
}

func (l *Lead) ports() (list []nftables.SetElement) {
	for _, s := range l.Servers {
		list = append(list, nftables.SetElement{Key: binaryutil.BigEndian.PutUint16(s.Port())})
	}
	return list
}

// leading is how a jail is led.
type leading struct {
	user    uint32
	zone    uint16
	to      map[family]netip.AddrPort
	servers map[netip.AddrPort]bool
}

// with is what there is after another Lead. Who answers is one for all servers of
// a family: the last.
func (l *leading) with(more Lead) (*leading, error) {
	next := &leading{user: more.User, to: make(map[family]netip.AddrPort), servers: make(map[netip.AddrPort]bool)}
	if l != nil {
		next.zone, next.to, next.servers = l.zone, maps.Clone(l.to), maps.Clone(l.servers)
	}
	next.to[familyOf(more.To.Addr())] = more.To
	for _, s := range more.Servers {
		next.servers[s] = true
	}
	if len(next.servers) > MaxLed {
		return nil, fmt.Errorf("%w: %d servers; %d are led", ErrFull, len(next.servers), MaxLed)
	}
	return next, nil
}

// Lead has what a jail sends to servers go to another, and never to them. What it
// has open there does so, too, from now on: a connection of TCP is reset by who
// does not know it. The kernel needs nft_nat and zones; where they are missing,
// nothing is changed.
func (t *Table) Lead(j Jail, l Lead) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.lead(j, l); err != nil {
		return fmt.Errorf("lead jail %s: %w", j.ID, err)
	}
	return nil
}

func (t *Table) lead(j Jail, l Lead) error {
	old := t.led[j.ID]
	next, err := old.with(l)
	if err != nil {
		return err
	}
	if !t.jails[j.ID] {
		return unix.ENOENT
	}
	if j.Level == Alone {
		return t.leadAlone(j, next)
	}
	if f := familyOf(l.To.Addr()); old == nil || old.to[f].IsValid() && old.to[f] != l.To {
		// What is open was led elsewhere. In another zone it begins anew.
		if next.zone, err = t.newZone(); err != nil {
			return err
		}
	}
	if err := t.prepare(j.Level); err != nil {
		return err
	}
	err = t.batchLocked(func(c *nftables.Conn) error {
		if old != nil {
			if err := old.elements(j, c.SetDeleteElements); err != nil {
				return err
			}
		}
		c.FlushChain(out.chain(j))
		for _, r := range append(ledRules(setsOf(j), j.ID, t.group), drop) {
			c.AddRule(out.rule(out.chain(j), r))
		}
		if err := c.SetAddElements(ports, l.ports()); err != nil {
			return err
		}
		return next.elements(j, c.SetAddElements)
	})
	if err == nil {
		t.led[j.ID] = next
	}
	return err
}

// newZone returns one that no jail has, and none has had for long: what the
// kernel remembers of its flows would be led as they were.
func (t *Table) newZone() (uint16, error) {
	used := make(map[uint16]bool)
	for _, l := range t.led {
		used[l.zone] = true
	}
	for range zones {
		t.zone = (t.zone + 1) % zones
		if zone := firstZone | t.zone; !used[zone] {
			return zone, nil
		}
	}
	return 0, fmt.Errorf("%w: %d jails are led", ErrFull, zones)
}

// prepare makes what leads the jails of a level. It stays: no packet takes it for
// anything but theirs.
func (t *Table) prepare(level int) error {
	if t.leads[level] {
		return nil
	}
	err := t.batchLocked(func(c *nftables.Conn) error {
		for _, s := range leadSets(level) {
			if err := c.AddSet(s, nil); err != nil {
				return err
			}
		}
		if len(t.leads) == 0 {
			for _, ch := range leadChains() {
				c.AddChain(ch.Chain)
				c.FlushChain(ch.Chain)
				for _, r := range ch.rules {
					c.AddRule(&nftables.Rule{Table: table, Chain: ch.Chain, Exprs: r})
				}
			}
			c.InsertRule(in.rule(in.base(), answered()))
		}
		c.InsertRule(&nftables.Rule{Table: table, Chain: answer, Exprs: ownAnswers(level)})
		return nil
	})
	if err == nil {
		err = t.rawLocked(zoneRules(level)...)
	}
	if errors.Is(err, unix.ENOENT) {
		err = fmt.Errorf("make the chains, one of which needs nft_nat: %w", err)
	}
	if err == nil {
		t.leads[level] = true
	}
	return err
}

// elements does something with a jail's elements of all sets.
func (l *leading) elements(j Jail, do func(*nftables.Set, []nftables.SetElement) error) error {
	if j.Level == Alone {
		return l.alone(do)
	}
	native := binaryutil.NativeEndian
	cgroup, zone := native.PutUint64(j.Cgroup), append(native.PutUint16(l.zone), 0, 0)
	if err := do(owners(j.Level), []nftables.SetElement{{Key: slices.Concat(zone, cgroup)}}); err != nil {
		return err
	}
	for f, to := range l.to {
		user := []nftables.SetElement{{Key: slices.Concat(zone, native.PutUint32(l.user)), Val: at(to)}}
		if err := do(f.to(), user); err != nil {
			return err
		}
	}
	servers := make(map[family][]nftables.SetElement)
	for s := range l.servers {
		f := familyOf(s.Addr())
		for _, network := range []uint8{UDP, TCP} {
			d := Dest{Network: network, Addr: s.Addr(), Port: s.Port()}
			servers[f] = append(servers[f], nftables.SetElement{Key: slices.Concat(cgroup, d.key()), Val: zone})
		}
	}
	for f, list := range servers {
		if err := each(list, func(part []nftables.SetElement) error { return do(f.servers(j.Level), part) }); err != nil {
			return err
		}
	}
	return nil
}

// at is an address and a port as they are in a register.
func at(a netip.AddrPort) []byte {
	return append(a.Addr().AsSlice(), byte(a.Port()>>8), byte(a.Port()), 0, 0)
}
