package nft

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Table is the kernel's table. Its methods are called from any goroutine.
type Table struct {
	group uint16

	mu     sync.Mutex
	conn   *nftables.Conn
	link   *netlink.Conn // what conn talks through
	levels map[int]bool  // that packets are dispatched by
	jails  map[string]bool
	leads  map[int]bool // levels whose jails can be led
	led    map[string]*leading
	zone   uint16 // the last that was given to one

	plain bool // without an owner
}

// patience is how long the kernel may take for a batch.
const patience = 10 * time.Second

// Plain has t do without an owned table, as before Linux 6.9.
func (t *Table) Plain() { t.plain = true }

// Open opens the way to the table, and changes nothing. A jail's dropped packets
// are logged to a group.
func Open(group uint16) (*Table, error) {
	t := &Table{
		group: group, levels: make(map[int]bool), jails: make(map[string]bool),
		leads: make(map[int]bool), led: make(map[string]*leading),
		zone: rand.N[uint16](zones), // not those that the last one gave
	}
	return t, t.dial()
}

func (t *Table) dial() error {
	// Thousands of elements go in one message, and each part is acknowledged.
	const buffer = 8 << 20
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		t.link = c
		return errors.Join(c.SetReadBuffer(buffer), c.SetWriteBuffer(buffer))
	}))
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	t.conn = conn
	return nil
}

// Close closes the way. The table stays.
func (t *Table) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.conn.CloseLasting()
}

// batchLocked has the kernel do all that fill asks for, or nothing.
func (t *Table) batchLocked(fill func(*nftables.Conn) error) error {
	err := t.link.SetDeadline(time.Now().Add(patience))
	if err == nil {
		err = fill(t.conn)
	}
	if err == nil {
		err = t.conn.Flush()
	}
	if errors.Is(err, unix.ENFILE) {
		err = fmt.Errorf("%w: %w", ErrFull, err)
	}
	if err != nil {
		err = t.again(err)
	}
	return err
}

// again opens the way anew after a batch that failed, and returns why it did.
func (t *Table) again(err error) error {
	// What is left of the answer must not be taken for the next one's, and what
	// of the batch was not sent must not be sent with it.
	_ = t.conn.CloseLasting()
	if again := t.dial(); again != nil {
		return errors.Join(err, again)
	}
	if again := t.owned(); again != nil && !errors.Is(again, errNotOwned) {
		return errors.Join(err, again)
	}
	return err
}

// Gone says whether somebody has deleted the table, as "nft flush ruleset" does
// with one that is not owned. Then nothing is dropped.
func (t *Table) Gone() (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.link.SetDeadline(time.Now().Add(patience)); err != nil {
		return false, err
	}
	_, err := t.conn.ListTableOfFamily(Name, table.Family)
	if errors.Is(err, unix.ENOENT) {
		return true, nil
	}
	return false, err
}

// Reset replaces all that the table has by jails that are shut, at once.
func (t *Table) Reset(shut []Jail) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.link.SetDeadline(time.Now().Add(patience)); err != nil {
		return fmt.Errorf("reset the table: %w", err)
	}
	err := t.owned()
	if errors.Is(err, errNotOwned) {
		err = t.batchLocked(func(c *nftables.Conn) error { c.AddTable(table); return nil })
	}
	if err != nil {
		return fmt.Errorf("make the table: %w", err)
	}
	old, err := t.contents()
	if err != nil {
		return fmt.Errorf("read the table: %w", err)
	}
	t.forgetLocked()
	err = t.batchLocked(func(c *nftables.Conn) error {
		old.remove(c)
		for _, s := range sides {
			c.AddChain(s.base())
		}
		c.AddChain(denied)
		for _, r := range deniedRules() {
			c.AddRule(&nftables.Rule{Table: table, Chain: denied, Exprs: r})
		}
		for _, j := range shut {
			if err := t.add(c, j, func(side) []rule { return nil }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.forgetLocked()
		return fmt.Errorf("reset the table: %w", err)
	}
	return nil
}

// forgetLocked forgets what the table had.
func (t *Table) forgetLocked() {
	clear(t.levels)
	clear(t.jails)
	clear(t.leads)
	clear(t.led)
}

// contents are what there is in a table.
type contents struct {
	chains []*nftables.Chain
	sets   []*nftables.Set
}

func (t *Table) contents() (*contents, error) {
	chains, err := t.conn.ListChainsOfTableFamily(table.Family)
	if err != nil {
		return nil, err
	}
	sets, err := t.conn.GetSets(table)
	if err != nil {
		return nil, err
	}
	return &contents{slices.DeleteFunc(chains, func(c *nftables.Chain) bool { return c.Table.Name != Name }), sets}, nil
}

// remove removes all, in the order in which nothing refers to it any more.
func (o *contents) remove(c *nftables.Conn) {
	c.FlushTable(table)
	for _, maps := range []bool{true, false} {
		for _, s := range o.sets {
			if s.IsMap == maps {
				c.DelSet(&nftables.Set{Table: table, Name: s.Name})
			}
		}
	}
	for _, chain := range o.chains {
		c.DelChain(&nftables.Chain{Table: table, Name: chain.Name})
	}
}
