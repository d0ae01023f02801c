package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// ID returns eight hexadecimal digits that name the rule to people: made from
// its app, verdict, destination and executable, so that it survives edits of
// anything else.
func (r *Rule) ID() string {
	var short [256]byte // on the stack
	b := append(append(short[:0], r.App...), 0)
	b = append(append(b, r.Verdict.String()...), 0)
	b = append(append(r.Dest.appendTo(b), 0), r.Exe...)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:4])
}

// Active says whether the rule is enabled and has not expired at now.
func (r *Rule) Active(now time.Time) bool {
	return !r.Disabled && (r.Expires.IsZero() || now.Before(r.Expires))
}

// HoldsIn says whether the rule holds in the jail with this id. A Set does not
// ask: it is made from the rules that hold in one jail.
func (r *Rule) HoldsIn(jail string) bool {
	return r.Jail == "" || r.Jail == jail
}

// speaksOf says whether everything but the host fits the request: the host was
// matched by the index that led to the rule.
func (r *Rule) speaksOf(q *Request, now time.Time) bool {
	d := &r.Dest
	if d.Proto != AnyProto && d.Proto != q.Proto {
		return false
	}
	// ICMP has no ports: what stands in the sockaddr there means nothing.
	if !d.Ports.All() && (q.Proto == ICMP || !d.Ports.Has(q.Addr.Port())) {
		return false
	}
	return (r.Exe == "" || r.Exe == q.Exe) && r.Active(now)
}
