package nft

import (
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
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

// rawLocked is batchLocked for what package nftables cannot say.
func (t *Table) rawLocked(changes ...netlink.Message) error {
	err := t.link.SetDeadline(time.Now().Add(patience))
	if err == nil {
		err = t.exchange(changes...)
	}
	if err != nil {
		err = t.again(err)
	}
	return err
}

// rawRule adds a rule of expressions that are encoded.
func rawRule(c *nftables.Chain, exprs [][]byte) netlink.Message {
	list := make([]netlink.Attribute, len(exprs))
	for i, e := range exprs {
		list[i] = netlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_LIST_ELEM, Data: e}
	}
	return changeOf(unix.NFT_MSG_NEWRULE, unix.NLM_F_APPEND,
		netlink.Attribute{Type: unix.NFTA_RULE_TABLE, Data: append([]byte(Name), 0)},
		netlink.Attribute{Type: unix.NFTA_RULE_CHAIN, Data: append([]byte(c.Name), 0)},
		netlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_RULE_EXPRESSIONS, Data: encode(list...)},
	)
}

func marshal(r rule) [][]byte {
	list := make([][]byte, len(r))
	for i, e := range r {
		b, err := expr.Marshal(byte(table.Family), e)
		if err != nil {
			panic(err) // of constants
		}
		list[i] = b
	}
	return list
}

// setZone sets the zone of the original direction alone: "ct original zone set".
func setZone(register byte) []byte {
	return encode(
		netlink.Attribute{Type: unix.NFTA_EXPR_NAME, Data: []byte("ct\x00")},
		netlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_EXPR_DATA, Data: encode(
			netlink.Attribute{Type: unix.NFTA_CT_KEY, Data: []byte{0, 0, 0, unix.NFT_CT_ZONE}},
			netlink.Attribute{Type: unix.NFTA_CT_DIRECTION, Data: []byte{original}},
			netlink.Attribute{Type: unix.NFTA_CT_SREG, Data: []byte{0, 0, 0, register}},
		)},
	)
}
