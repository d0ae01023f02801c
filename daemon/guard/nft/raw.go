package nft

import (
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// What package nftables cannot say is said in messages made here.

func message(typ, flags int, family, resource byte, attributes ...byte) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(typ), Flags: netlink.HeaderFlags(flags) | netlink.Request},
		Data:   append([]byte{family, unix.NFNETLINK_V0, 0, resource}, attributes...),
	}
}

// changeOf is a message of a batch, which the kernel acknowledges.
func changeOf(typ, flags int, attributes ...netlink.Attribute) netlink.Message {
	return message(unix.NFNL_SUBSYS_NFTABLES<<8|typ, flags|unix.NLM_F_CREATE|unix.NLM_F_ACK, byte(table.Family), 0, encode(attributes...)...)
}

func encode(attributes ...netlink.Attribute) []byte {
	b, err := netlink.MarshalAttributes(attributes)
	if err != nil {
		panic(err) // of what is short
	}
	return b
}

// exchange has the kernel do all changes, or nothing.
func (t *Table) exchange(changes ...netlink.Message) error {
	batch := []netlink.Message{message(unix.NFNL_MSG_BATCH_BEGIN, 0, 0, unix.NFNL_SUBSYS_NFTABLES)}
	batch = append(batch, changes...)
	batch = append(batch, message(unix.NFNL_MSG_BATCH_END, 0, 0, unix.NFNL_SUBSYS_NFTABLES))
	if _, err := t.link.SendMessages(batch); err != nil {
		return err
	}
	for range changes {
		if _, err := t.link.Receive(); err != nil {
			return err
		}
	}
	return nil
}
