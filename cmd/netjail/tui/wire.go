package tui

import (
	"net/netip"
	"time"
)

// What the daemon says of connections.
const (
	opConnections = "connections"
	opEnd         = "connection.end"
	opStop        = "stop"
)

type wireConnections struct {
	Jails []wireJail `json:"jails"`
}

type wireFlow struct {
	ID       string         `json:"id"`
	Network  string         `json:"network"`
	Local    netip.AddrPort `json:"local"`
	Remote   netip.AddrPort `json:"remote,omitzero"`
	State    string         `json:"state"`
	Names    []string       `json:"names,omitempty"`
	Resolver bool           `json:"resolver,omitempty"`
	PID      int            `json:"pid"`
	Program  string         `json:"program"`
	Sent     uint64         `json:"sent"`
	Received uint64         `json:"received"`
	Known    bool           `json:"known"`
	Since    time.Time      `json:"since"`
}

type wireJail struct {
	App     string     `json:"app"`
	Jail    string     `json:"jail"`
	Flows   []wireFlow `json:"flows"`
	Silent  bool       `json:"silent,omitempty"`
	Problem string     `json:"problem,omitempty"`
	More    int        `json:"more,omitempty"`
	Unseen  int        `json:"unseen,omitempty"`
}

type wireEnd struct {
	Jail string `json:"jail"`
	ID   string `json:"id,omitempty"`
}
