package rules

import "fmt"

// Reason says why a rule did not decide about a request.
type Reason uint8

// The reasons of rules that spoke come before those of rules that nearly did.
const (
	notNear     Reason = iota
	WiderHost          // the other's host is narrower
	MorePorts          // the other names fewer ports
	AnyProtocol        // the other names a protocol
	AnyExe             // the other names an executable
	EveryApp           // the other is the app's own
	NotOfRun           // the other is of this run: a flag, or an answer until its exit
	Milder             // else equal, and the other refuses more
	Twice              // equal, and the other stands before it
	NotNamed           // a cloud metadata address needs a rule of exactly it
	Blocked            // a blocklist has the name, and goes before rules of @any and of classes
	Reserved           // netjail keeps programs from the socket

	IsDisabled  // and would speak
	IsExpired   // its time is over
	OtherApp    // it is another app's
	OtherProto  // of another protocol
	OtherPort   // of other ports
	OtherExe    // of another executable
	OtherName   // the address has several names, and was decided under another
	LeadsInside // a public name of an address of this machine or its networks needs local = true
	OnlyBelow   // *.example.org does not cover example.org
	NotBelow    // example.org does not cover www.example.org
	firstNear   = IsDisabled
)

var reasonWords = []string{
	"none", "wider-host", "more-ports", "any-protocol", "any-exe", "every-app", "not-of-run", "deny-wins", "duplicate",
	"metadata", "blocklist", "reserved", "disabled", "expired", "other-app", "other-protocol", "other-port", "other-exe",
	"other-name", "leads-inside", "only-below", "not-below",
}

// String returns a word for programs, such as "wider-host".
func (r Reason) String() string { return word(reasonWords, uint8(r)) }

// MarshalText returns the text of String; an unknown reason is an error.
func (r Reason) MarshalText() ([]byte, error) {
	return marshalWord("reason", reasonWords, uint8(r))
}

// UnmarshalText reads what MarshalText writes.
func (r *Reason) UnmarshalText(text []byte) error {
	return unmarshalWord(r, "reason", reasonWords, text)
}

// String says for people why the rule lost.
func (l *Lost) String() string {
	r, than := l.Rule, "the one that decided"
	if l.To != nil {
		than = l.To.Verdict.String() + " " + l.To.Dest.String()
	}
	switch l.Reason {
	case WiderHost:
		return "a wider host than " + than
	case MorePorts:
		return "more ports than " + than
	case AnyProtocol:
		return than + " names the protocol"
	case AnyExe:
		return than + " names the executable"
	case EveryApp:
		return "for every app; " + than + " is the app's own"
	case NotOfRun:
		return than + " is of this run"
	case Milder:
		return "as narrow as " + than + ", and " + l.To.Verdict.String() + " comes before " + r.Verdict.String()
	case Twice:
		return "the same as " + than + ", which stands before it"
	case NotNamed:
		return "cloud metadata needs a rule of exactly its address"
	case Blocked:
		return "a blocklist comes before it"
	case Reserved:
		return "netjail keeps programs from this socket"
	case IsDisabled:
		return "disabled"
	case IsExpired:
		return "expired"
	case OtherApp:
		return "for " + r.App
	case OtherProto:
		return "only for " + r.Dest.Proto.String()
	case OtherPort:
		return "only for port " + r.Dest.Ports.String()
	case OtherExe:
		return "only for " + r.Exe
	case OtherName:
		return "of another name of the address; each is decided by itself, and the answer that refuses most counts"
	case LeadsInside:
		return "a public name that leads to this machine or its networks needs local = true"
	case OnlyBelow:
		return fmt.Sprintf("covers what is below %s, not itself: .%[1]s covers both", r.Dest.Host.Name)
	case NotBelow:
		return fmt.Sprintf("covers %s only: .%[1]s covers what is below it, too", r.Dest.Host.Name)
	}
	return l.Reason.String()
}
