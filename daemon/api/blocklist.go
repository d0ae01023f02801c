package api

import "time"

// BlocklistFiles names lists, by absolute paths.
type BlocklistFiles struct {
	Files []string `json:"files"`
}

// Blocklists says which lists are in force, as they were when they were last
// read.
type Blocklists struct {
	Files      []Blocklist `json:"files"`
	Names      int         `json:"names"`      // that are blocked, each counted once
	Exceptions int         `json:"exceptions"` // that are opened again
	Read       *time.Time  `json:"read,omitempty"`
	Problem    string      `json:"problem,omitempty"` // why the lists on disk are not in force
}

// Blocklist is one list.
type Blocklist struct {
	File       string `json:"file"`
	Names      int    `json:"names"`
	Exceptions int    `json:"exceptions"`
	Skipped    int    `json:"skipped"` // of kinds that do not block a name
	State      string `json:"state"`   // one of the Blocklist constants
}

// How a list on disk stands to what is in force.
const (
	BlocklistRead    = "read"
	BlocklistChanged = "changed" // since it was read
	BlocklistMissing = "missing" // what was read of it holds
)

// BlocklistNames asks about names.
type BlocklistNames struct {
	Names []string `json:"names"`
}

// BlocklistMatches answers, in the order of the names.
type BlocklistMatches struct {
	Names []BlocklistMatch `json:"names"`
}

// BlocklistMatch says what the lists say of a name.
type BlocklistMatch struct {
	Name    string `json:"name"` // as DNS knows it
	Blocked bool   `json:"blocked"`
	Entry   string `json:"entry,omitempty"` // the name or one above it; if it is not blocked, an exception
	File    string `json:"file,omitempty"`  // where the entry stands
}
