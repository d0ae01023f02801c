package notifier

import (
	"strings"
	"time"
)

// How much of what is known about a program is shown.
const (
	maxTitle   = 32
	maxPackage = 64
	maxLink    = 24 // of one program in a chain
	maxChain   = 8
)

// About is what is known about a program besides what it says itself. Whoever
// asks the question fills it in.
type About struct {
	Title   string `json:"title,omitempty"`   // of the app, as its desktop entry has it
	Icon    string `json:"icon,omitempty"`    // of the app: a name in an icon theme, or a file: URI
	Package string `json:"package,omitempty"` // of the distribution, if that is the origin of Exe
	Origin  Origin `json:"origin,omitempty"`

	// Changed is when a person last allowed something to the executable, if it
	// was another one then.
	Changed time.Time `json:"changed,omitzero"`
}

// Origin says where an executable is from; "" that nobody knows.
type Origin string

// The origins.
const (
	FromPackage Origin = "package" // of the distribution: About.Package
	FromHome    Origin = "home"    // no package's, in the user's home directory
	FromNone    Origin = "none"    // no package's
	Replaced    Origin = "other"   // what has the path of Exe is another file
)

// from says where an executable is from.
func (a About) from() string {
	switch a.Origin {
	case FromPackage:
		return "package " + Clean(a.Package, maxPackage)
	case FromHome:
		return "no package, in your home directory"
	case FromNone:
		return "no package"
	case Replaced:
		return "not the file that has this name now"
	}
	return ""
}

// Background says whether the executable has changed, where it is from and which
// programs started it, or "" when there is nothing to say.
func (q Question) Background() string {
	var parts []string
	if !q.Changed.IsZero() {
		parts = append(parts, "changed since you last allowed it on "+q.Changed.Local().Format(time.DateOnly))
	}
	if origin := q.About.from(); origin != "" {
		parts = append(parts, origin)
	}
	if len(q.Chain) > 1 {
		links := make([]string, 0, maxChain)
		for _, name := range q.Chain[:min(len(q.Chain), maxChain)] {
			// A name could look like two.
			links = append(links, strings.ReplaceAll(Clean(name, maxLink), ">", "\ufffd"))
		}
		parts = append(parts, strings.Join(links, " > "))
	}
	return strings.Join(parts, " · ")
}

// title is the app's name in its desktop entry, in parentheses, unless it says
// nothing new. It does not replace the app's own name, which rules are about:
// an entry may be the work of the program that it speaks of.
func (q Question) title() string {
	if q.Title == "" || strings.EqualFold(q.Title, q.App) {
		return ""
	}
	return " (" + Clean(q.Title, maxTitle) + ")"
}
