package nft

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// rule is the expressions of one.
type rule = []expr.Any

// Add makes a jail that reaches nothing and is reached by nobody.
func (t *Table) Add(j Jail) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := t.levels[j.Level]
	if t.jails[j.ID] {
		return fmt.Errorf("add jail %s: %w", j.ID, unix.EEXIST)
	}
	err := t.batchLocked(func(c *nftables.Conn) error {
		for _, s := range setsOf(j).all() {
			if err := c.AddSet(s, nil); err != nil {
				return err
			}
		}
		return t.add(c, j, func(s side) []rule { return s.rules(j, t.group) })
	})
	if err != nil {
		t.levels[j.Level] = known
		delete(t.jails, j.ID)
		return fmt.Errorf("add jail %s: %w", j.ID, err)
	}
	return nil
}

// add makes a jail's chains and leads its packets there. t.mu is held.
func (t *Table) add(c *nftables.Conn, j Jail, rules func(side) []rule) error {
	for _, s := range sides {
		if j.Level == Alone {
			c.AddChain(s.closed())
		}
		if !t.levels[j.Level] {
			if err := c.AddSet(s.jails(j.Level), nil); err != nil {
				return err
			}
			c.AddRule(s.dispatch(j.Level))
		}
		c.AddChain(s.chain(j))
		for _, r := range append(rules(s), drop) {
			c.AddRule(s.rule(s.chain(j), r))
		}
		if err := c.SetAddElements(s.jails(j.Level), s.element(j)); err != nil {
			return err
		}
	}
	t.levels[j.Level], t.jails[j.ID] = true, true
	return nil
}

// Shut takes all from a jail that it was allowed. What is open goes no further,
// and nothing is led.
func (t *Table) Shut(j Jail) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.batchLocked(func(c *nftables.Conn) error {
		if l := t.led[j.ID]; l != nil {
			if err := l.elements(j, c.SetDeleteElements); err != nil {
				return err
			}
		}
		for _, s := range sides {
			c.FlushChain(s.chain(j))
			c.AddRule(s.rule(s.chain(j), drop))
		}
		for _, s := range setsOf(j).all() {
			c.DelSet(s)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("shut jail %s: %w", j.ID, err)
	}
	delete(t.led, j.ID)
	return nil
}

// Remove removes a jail that was shut. Its cgroup is gone, or what is in it may
// do as it likes.
func (t *Table) Remove(j Jail) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.batchLocked(func(c *nftables.Conn) error {
		for _, s := range sides {
			if err := c.SetDeleteElements(s.jails(j.Level), s.element(j)); err != nil {
				return err
			}
			c.FlushChain(s.chain(j))
			c.DelChain(s.chain(j))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove jail %s: %w", j.ID, err)
	}
	delete(t.jails, j.ID)
	return nil
}

// Allow lets a jail send to others, for as long as each says, and take their
// answers. What was denied before is not any more.
func (t *Table) Allow(j Jail, dests []Dest) error {
	s := setsOf(j)
	return t.change(j, "allow", []change{{s.allow4, s.allow6, dests, true}, {s.deny4, s.deny6, untimed(dests), false}})
}

// Deny takes from a jail what it was allowed, lets nothing go further that is
// open there, and has new attempts fail at once.
func (t *Table) Deny(j Jail, dests []Dest) error {
	s := setsOf(j)
	return t.change(j, "deny", []change{{s.deny4, s.deny6, dests, true}, {s.allow4, s.allow6, untimed(dests), false}})
}

// Forget has destinations neither allowed nor denied. What is open goes on. So
// does a flow that was stopped when they were denied, if it has not ended and the
// kernel remembers it.
func (t *Table) Forget(j Jail, dests []Dest) error {
	s := setsOf(j)
	dests = untimed(dests)
	return t.change(j, "forget", []change{{s.allow4, s.allow6, dests, false}, {s.deny4, s.deny6, dests, false}})
}

// Listen lets others begin what goes to ports of a jail's own.
func (t *Table) Listen(j Jail, ports []Dest) error {
	s := setsOf(j)
	return t.change(j, "listen", []change{{s.listen, s.listen, ports, true}})
}

// Unlisten takes that back. What others have begun goes no further.
func (t *Table) Unlisten(j Jail, ports []Dest) error {
	s := setsOf(j)
	return t.change(j, "unlisten", []change{{s.listen, s.listen, untimed(ports), false}})
}

// change has elements in sets of both families, or has them not there.
type change struct {
	v4, v6 *nftables.Set
	dests  []Dest
	there  bool
}

func (ch *change) fill(c *nftables.Conn) error {
	v4, v6 := split(ch.dests)
	do := take
	if ch.there {
		do = put
	}
	if err := do(c, ch.v4, v4); err != nil {
		return err
	}
	return do(c, ch.v6, v6)
}

func (t *Table) change(j Jail, what string, changes []change) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.batchLocked(func(c *nftables.Conn) error {
		for i := range changes {
			if err := changes[i].fill(c); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, ErrFull) {
		err = t.oneByOne(changes)
	}
	if err != nil {
		return fmt.Errorf("%s in jail %s: %w", what, j.ID, err)
	}
	return nil
}

// oneByOne does what could not be done at once: a full set takes no element, not
// even for a moment. What cannot be put in comes first, and what is denied is
// denied whatever else is allowed: no moment is more open than both ends.
func (t *Table) oneByOne(changes []change) error {
	for i := range changes {
		if changes[i].there {
			if err := t.batchLocked(changes[i].fill); err != nil {
				return err
			}
			continue
		}
		v4, v6 := split(changes[i].dests)
		for set, list := range map[*nftables.Set][]nftables.SetElement{changes[i].v4: v4, changes[i].v6: v6} {
			for _, e := range list {
				err := t.batchLocked(func(c *nftables.Conn) error { return c.SetDeleteElements(set, []nftables.SetElement{e}) })
				if err != nil && !errors.Is(err, unix.ENOENT) {
					return err
				}
			}
		}
	}
	return nil
}

func untimed(dests []Dest) []Dest {
	dests = slices.Clone(dests)
	for i := range dests {
		dests[i].Timeout = 0
	}
	return dests
}

// split sorts destinations by family.
func split(dests []Dest) (v4, v6 []nftables.SetElement) {
	var four, six []Dest
	for _, d := range dests {
		if d.Addr.Is4() {
			four = append(four, d)
		} else {
			six = append(six, d)
		}
	}
	return elements(four), elements(six)
}

func elements(dests []Dest) []nftables.SetElement {
	list := make([]nftables.SetElement, len(dests))
	for i, d := range dests {
		list[i] = nftables.SetElement{Key: d.key(), Timeout: d.Timeout}
	}
	return list
}

// put has elements in a set, with their timeouts and not those that they had. An
// element that is there already would be left as it is; none can be removed that
// is not there. So it is added, removed and added, of which the kernel shows only
// the outcome.
func put(c *nftables.Conn, s *nftables.Set, list []nftables.SetElement) error {
	if err := take(c, s, list); err != nil {
		return err
	}
	return each(list, func(part []nftables.SetElement) error { return c.SetAddElements(s, part) })
}

// take has no elements in a set, whether they were there or not.
func take(c *nftables.Conn, s *nftables.Set, list []nftables.SetElement) error {
	return each(list, func(part []nftables.SetElement) error {
		if err := c.SetAddElements(s, part); err != nil {
			return err
		}
		return c.SetDeleteElements(s, part)
	})
}

// each goes through a list in parts that a message holds: the length of an
// attribute has 16 bits.
func each(list []nftables.SetElement, do func([]nftables.SetElement) error) error {
	const most = 500
	for part := range slices.Chunk(list, most) {
		if err := do(part); err != nil {
			return err
		}
	}
	return nil
}
