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
	if _, err := t.link.SendMessages(ownBatch()); err != nil {
		return err
	}
	_, err := t.link.Receive()
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("%w: %w", errNotOwned, err)
	}
	return err
}

// ownBatch is what package nftables cannot say: a new table with flags.
func ownBatch() []netlink.Message {
	message := func(typ, flags int, family, resource byte, attributes ...byte) netlink.Message {
		return netlink.Message{
			Header: netlink.Header{Type: netlink.HeaderType(typ), Flags: netlink.HeaderFlags(flags) | netlink.Request},
			Data:   append([]byte{family, unix.NFNETLINK_V0, 0, resource}, attributes...),
		}
	}
	name := append([]byte(Name), 0)
	attributes, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_TABLE_NAME, Data: name},
		{Type: unix.NFTA_TABLE_FLAGS, Data: []byte{0, 0, 0, flagOwner | flagPersist}},
	})
	if err != nil {
		panic(err) // of a constant
	}
	const newTable = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWTABLE
	return []netlink.Message{
		message(unix.NFNL_MSG_BATCH_BEGIN, 0, 0, unix.NFNL_SUBSYS_NFTABLES),
		message(newTable, unix.NLM_F_CREATE|unix.NLM_F_ACK, byte(table.Family), 0, attributes...),
		message(unix.NFNL_MSG_BATCH_END, 0, 0, unix.NFNL_SUBSYS_NFTABLES),
	}
}
