package api

import (
	"net/netip"

	"github.com/netjail/netjail/rules"
)

// ExplainRequest asks what would become of a call.
type ExplainRequest struct {
	App  string            `json:"app"`
	Dest rules.Destination `json:"destination"`    // one host, and one port where there are ports
	Exe  string            `json:"exe,omitempty"`  // the calling executable
	Addr string            `json:"addr,omitempty"` // that the name in Dest has
	Jail string            `json:"jail,omitempty"` // the id of a running jail, whose answers until its exit count too
}

// Explanation says what would become of a call, and why.
type Explanation struct {
	App     string            `json:"app"`
	Op      rules.Op          `json:"op"`
	Dest    rules.Destination `json:"destination"` // as it was decided about, with its protocol
	Exe     string            `json:"exe,omitempty"`
	Name    string            `json:"name,omitempty"`    // that the address was decided under
	Addr    string            `json:"addr,omitempty"`    // that the name was taken to have
	Assumed bool              `json:"assumed,omitempty"` // nobody said so: any address on the internet
	Verdict rules.Verdict     `json:"verdict"`           // ask: people decide, and it is denied where nobody can be asked
	Why     string            `json:"why"`
	Rule    *Rule             `json:"rule,omitempty"`   // that decided
	Lookup  *ExplainedLookup  `json:"lookup,omitempty"` // of the name, before the call
	Lost    []LostRule        `json:"lost"`             // that spoke, the best first, then those that nearly did
	Notes   []string          `json:"notes"`            // what else may matter
}

// ExplainedLookup says what would become of the lookup of a name.
type ExplainedLookup struct {
	Name    string        `json:"name"`
	Verdict rules.Verdict `json:"verdict"` // ask: no rule speaks of the name
	Why     string        `json:"why"`
	Rule    *Rule         `json:"rule,omitempty"`
}

// LostRule is a rule that did not decide.
type LostRule struct {
	Rule   Rule         `json:"rule"`
	Reason rules.Reason `json:"reason"`
	Why    string       `json:"why"` // the reason for people
}

// ParseAddr reads an address that somebody gave for a name.
func (r *ExplainRequest) ParseAddr() (netip.Addr, error) {
	if r.Addr == "" {
		return netip.Addr{}, nil
	}
	return netip.ParseAddr(r.Addr)
}
