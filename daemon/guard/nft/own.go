package nft

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Flags of a table, linux/netfilter/nf_tables.h. An owner's table is not touched
// by others, not even by "nft flush ruleset", which a distribution's nftables.service
// begins with; one that persists stays when its owner ends, and is the next one's.
const (
	flagOwner   = 0x2 // Linux 5.12
	flagPersist = 0x4 // Linux 6.9
)

// errNotOwned means that this kernel has no tables that are owned and persist.
// One that would go with its owner is no use: the jails would be open then.
var errNotOwned = errors.New("the table cannot be owned")

// owned owns the table unless that is not to be had.
func (t *Table) owned() error {
	if t.plain {
		return errNotOwned
	}
	return t.own()
}

// own makes the table, or takes it over, for as long as the socket is open.
func (t *Table) own() error {
	err := t.exchange(changeOf(unix.NFT_MSG_NEWTABLE, 0,
		netlink.Attribute{Type: unix.NFTA_TABLE_NAME, Data: append([]byte(Name), 0)},
		netlink.Attribute{Type: unix.NFTA_TABLE_FLAGS, Data: []byte{0, 0, 0, flagOwner | flagPersist}},
	))
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("%w: %w", errNotOwned, err)
	}
	return err
}
