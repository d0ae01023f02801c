// Package jail runs one program under netjail: it joins interposition, rules
// and questions.
//
//	code, err := jail.Run(ctx, jail.Config{App: "curl", Path: "/usr/bin/curl", Args: args}, os.Stderr)
//
// The process that the shell started is the program's supervisor: it is the
// ancestor of all that runs in the jail, which alone may look into it where
// Yama restricts ptrace, so it cannot be the daemon. It also stands for the
// program in the shell's job control, and asks on the terminal.
//
// What it says on stderr is read by programs too. These lines keep their form,
// in which VERB is look up, connect, send or listen:
//
//	netjail: denied: APP VERB DESTINATION: WHY. To allow it: COMMAND
//	netjail: allowed: APP VERB DESTINATION: WHY (monitor)
//	netjail: note: ...
//
// The first is printed once for each destination, before the call fails. Where
// nobody can be asked the first of them is followed by a note for whoever started
// netjail, who may be an agent: that it is no fault, not to be tried again or
// worked around, but the user's to decide. NETJAIL=1 and NETJAIL_APP in the
// environment say that a program is in a jail, and AskSelf what it may do there.
//
// It ends when the program ends. What the program left behind gets a new
// supervisor, which package interpose keeps ready between the two: see
// Succeed.
//
// The package keeps no rules: the daemon does.
package jail

import (
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/daemon/guard"
	"github.com/netjail/netjail/interpose"
)

// Config says what to run, and how. Zero fields mean the strictest.
type Config struct {
	App         string            `json:"app"`
	Path        string            `json:"path"`              // of the executable
	Args        []string          `json:"args"`              // with the program's name as the first
	Rules       []api.Rule        `json:"rules"`             // of this run only, from its flags
	Project     []api.Rule        `json:"project,omitempty"` // of the directory it runs in: no more than rules in files
	Ask         bool              `json:"ask"`               // questions may be asked
	Monitor     bool              `json:"monitor,omitempty"` // what nothing denies is allowed, where it would be asked about
	Timeout     time.Duration     `json:"timeout,omitempty"` // ends the program; 0: never
	Compat      bool              `json:"compat,omitempty"`  // 32-bit programs may run
	Guard       guard.Kind        `json:"guard,omitempty"`   // that must be had; "": guard.Auto
	Leave       guard.Leave       `json:"leave,omitzero"`    // of the guard's, what is not wanted
	Chosen      func(guard.Guard) `json:"-"`                 // is told which it is; may be nil
	GuardSocket string            `json:"-"`                 // of the guard service; "": where it is installed to listen
	Keep        []int             `json:"-"`                 // descriptors from 3 on that the program inherits
	Runtime     string            `json:"runtime"`           // the daemon's directory
	Seen        *Seen             `json:"-"`                 // takes note of what is allowed; nil: nothing does
}

// Exit codes that are netjail's own, as env(1) and timeout(1) have them.
const (
	ExitTimeout    = 124
	ExitFailure    = 125
	ExitCannotExec = 126
	ExitNotFound   = 127
)

// Error is why a program was not run. Code is what to exit with.
type Error struct {
	Code int
	Text string
	Hint string
}

func (e *Error) Error() string { return e.Text }

// Nested says whether this process is in a jail already. The rules of that
// jail apply to all it starts, and no second listener can be had.
func Nested() bool { return interpose.Inside() }
