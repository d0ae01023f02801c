package api

import (
	"net/netip"
	"time"
)

// Flow is one network socket of a program in a jail: a connection, or a place
// where one is waited for.
type Flow struct {
	ID      string         `json:"id"`      // of no other since the machine was started; for OpEnd
	Network string         `json:"network"` // tcp or udp
	Local   netip.AddrPort `json:"local"`
	Remote  netip.AddrPort `json:"remote,omitzero"` // none: not connected
	State   string         `json:"state"`           // as ss(8) has it, unabridged: ESTABLISHED, SYN-SENT, LISTEN, UNCONNECTED of UDP

	// Names are those that the program looked the address up by, and this
	// machine's own, the likeliest first: at most three. They may have ceased to
	// count for new connections.
	Names    []string `json:"names,omitempty"`
	Resolver bool     `json:"resolver,omitempty"` // it leads to netjail's resolver: what it carries are lookups

	PID     int    `json:"pid"`
	Program string `json:"program"` // base name of the executable that it runs
	Inode   uint64 `json:"inode"`

	// Sent and Received are what the connection has carried so far. Known is
	// false where the kernel does not count: for UDP.
	Sent     uint64 `json:"sent"`
	Received uint64 `json:"received"`
	Known    bool   `json:"known"`

	Since time.Time `json:"since"` // when it was seen first; it may be older
}

// Connections are what all jails have open now, the jail that was started first
// at the front.
type Connections struct {
	Jails []JailConnections `json:"jails"`
}

// JailConnections are those of one jail, in no particular order.
type JailConnections struct {
	App     string `json:"app"`
	Jail    string `json:"jail"`
	Flows   []Flow `json:"flows"`
	Silent  bool   `json:"silent,omitempty"`  // it did not answer: nothing of it is listed
	Problem string `json:"problem,omitempty"` // why it did not, or what is missing
	More    int    `json:"more,omitempty"`    // connections that are left out: there are too many
	Unseen  int    `json:"unseen,omitempty"`  // processes that may have others: in another network namespace, or not to be looked at
}

// FlowEnd names a connection.
type FlowEnd struct {
	Jail string `json:"jail"`
	ID   string `json:"id"`
}

// JailStop names a jail.
type JailStop struct {
	Jail string `json:"jail"`
}

// Task is what a supervisor is asked to do, in an event.
type Task struct {
	Request uint64 `json:"request"`        // to be repeated in the answer
	Flow    string `json:"flow,omitempty"` // of EventEnd
}

// MaxFlows is how many flows one part of an answer has. With the longest names
// that is still a request as the daemon takes them.
const MaxFlows = 100

// Flows is a part of a supervisor's answer to EventFlows. The first one has
// none, and comes at once.
type Flows struct {
	Request uint64 `json:"request"`
	Count   int    `json:"count"` // of Flows
	Flows   []Flow `json:"flows"`
	Last    bool   `json:"last"` // no part follows

	// Of the last part.
	Problem string `json:"problem,omitempty"`
	More    int    `json:"more,omitempty"`
	Unseen  int    `json:"unseen,omitempty"`
}

// Done is a supervisor's answer to EventEnd and EventStop.
type Done struct {
	Request uint64 `json:"request"`
	Error   *Error `json:"error,omitempty"`
}
