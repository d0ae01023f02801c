// Package opensnitch turns OpenSnitch's rule files into netjail's rules.
//
//	for _, r := range opensnitch.Convert(files, opensnitch.Config{UID: 1000, Now: time.Now()}) {
//		fmt.Println(r.File, r.Rules, r.Refused)
//	}
//
// A rule is converted if netjail can say just what it says, and refused with a
// reason otherwise: none lets more through than it did, by itself or together
// with the others. OpenSnitch's deny wins wherever it stands, netjail's narrower
// rule wins, so an allow that a deny cuts into is refused where the order would
// come out otherwise; so is one that a deny which was refused may cut into.
//
// What stays different refuses more, but for one thing: an allow of a name lets
// the name be looked up, whatever its ports. An allow of a program holds in
// the jail of that name only; its deny holds in that whole jail, and for the
// program in every other one, where it does not keep names from being looked up.
// netjail denies cloud metadata, and public names that lead to the machine or its
// networks.
//
// The package reads bytes that it is given. It opens no file, and it does not
// use a rule's name as one.
package opensnitch

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/netjail/netjail/rules"
)

// maxNote bounds a remark that comes with a rule.
const maxNote = 200

// Config says for whom rules are converted.
type Config struct {
	UID int       // whose rules they become: those of other users are refused
	Now time.Time // from when on a rule with a duration holds
}

// File is a rule file. Its name is for the report.
type File struct {
	Name string
	Data []byte
}

// Result is what became of one file.
type Result struct {
	File    string       `json:"file"`
	Name    string       `json:"name"`            // the rule's
	Refused string       `json:"refused"`         // why there are no rules; "": there are
	Notes   []string     `json:"notes,omitempty"` // what a person should know
	Rules   []rules.Rule `json:"-"`
}

// Convert converts a directory of rules, in the order of the files.
func Convert(files []File, cfg Config) []Result {
	list := make([]*imported, len(files))
	byName := make(map[string]int)
	for i, f := range files {
		list[i] = read(f, &cfg)
		byName[list[i].Name]++
	}
	for _, r := range list {
		if byName[r.Name] > 1 && r.loads {
			r.refuse("another file has a rule of the same name, of which OpenSnitch keeps one")
			r.known = scope{} // it is not known which
		}
	}
	order(list)
	out := make([]Result, len(list))
	for i, r := range list {
		if r.Refused == "" {
			r.Rules = r.make(&cfg)
		}
		out[i] = r.Result
	}
	return out
}

// imported is one rule of OpenSnitch's, as far as it could be understood.
type imported struct {
	Result
	loads      bool // OpenSnitch takes the file
	deny       bool
	enabled    bool
	precedence bool
	life       time.Duration // 0: always
	created    time.Time
	note       string
	known      scope
}

// scope is what a rule speaks of. Of one that is refused it is what could be
// understood: the rule speaks of no more than that.
type scope struct {
	path  string              // "": every program
	dests []rules.Destination // of a rule that is not refused; else see hosts
	hosts []rules.Host        // none: every one
	proto rules.Proto
	ports rules.Ports
	never bool // no connection of this user's is meant
}

// refuse keeps the first reason.
func (r *imported) refuse(format string, args ...any) {
	if r.Refused == "" {
		r.Refused = fmt.Sprintf(format, args...)
	}
}

func (r *imported) remark(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// make returns the rules that say what r says.
func (r *imported) make(cfg *Config) (list []rules.Rule) {
	for _, d := range r.known.dests {
		for _, who := range r.who() {
			rule := rules.Rule{
				App: who.app, Exe: who.exe, Verdict: r.verdict(), Dest: d, Disabled: !r.enabled,
				Note: r.note, By: "import", Created: r.created,
			}
			if r.life > 0 {
				rule.Expires = cfg.Now.Add(r.life).UTC().Truncate(time.Second)
			}
			list = append(list, rule)
		}
	}
	return list
}

func (r *imported) verdict() rules.Verdict {
	if r.deny {
		return rules.Deny
	}
	return rules.Allow
}

// subject is whom a rule is about.
type subject struct{ app, exe string }

// who returns whom the rules are about, the last one in every jail. A deny of a
// program holds in its whole jail, so that lookups, which no executable is known
// of, are refused too.
func (r *imported) who() []subject {
	path := r.known.path
	switch {
	case path == "":
		return []subject{{}}
	case r.deny:
		return []subject{{app: rules.AppName(path)}, {exe: path}}
	}
	return []subject{{rules.AppName(path), path}}
}

// order refuses the allows that would let through what a deny of OpenSnitch's
// would have stopped, or the other way around.
func order(list []*imported) {
	var denies []*imported
	for _, r := range list {
		if r.deny && r.enabled && r.loads && !r.known.never {
			denies = append(denies, r)
		}
	}
	// By name, so that the one that is given as the reason stays the same.
	slices.SortFunc(denies, func(a, b *imported) int { return cmp.Compare(a.Name, b.Name) })
	for _, a := range list {
		if a.deny || !a.enabled || a.Refused != "" {
			continue
		}
		for _, d := range denies {
			if a.contradicts(d) {
				break
			}
		}
	}
}

// contradicts refuses the allow a if it and d would not come out as they did.
func (a *imported) contradicts(d *imported) bool {
	first := a.precedence && a.Name < d.Name // a wins over d
	if !strings.EqualFold(a.known.path, d.known.path) && a.known.path != "" && d.known.path != "" {
		return false
	}
	if d.Refused != "" {
		if !first && a.meets(d) {
			a.refuse("%s denies part of it, and was refused", d.File)
			return true
		}
		return false
	}
	for _, da := range a.known.dests {
		for _, dd := range d.known.dests {
			if meet(da, dd) && !a.agrees(da, d, dd, first) {
				if first {
					a.refuse("it has precedence over %s, which netjail would let win for some of it", d.File)
				} else {
					a.refuse("%s denies part of it, and here the narrower rule would win", d.File)
				}
				return true
			}
		}
	}
	return false
}

// agrees says whether of two destinations that meet the rule that won in
// OpenSnitch wins here.
func (a *imported) agrees(da rules.Destination, d *imported, dd rules.Destination, first bool) bool {
	allow := rules.Rule{Verdict: rules.Allow, Dest: da}
	allow.App, allow.Exe = a.who()[0].app, a.who()[0].exe
	subjects := d.who()
	if !first {
		// This one speaks wherever the program runs.
		last := subjects[len(subjects)-1]
		deny := rules.Rule{Verdict: rules.Deny, Dest: dd, App: last.app, Exe: last.exe}
		return deny.Precedes(&allow)
	}
	for _, s := range subjects {
		deny := rules.Rule{Verdict: rules.Deny, Dest: dd, App: s.app, Exe: s.exe}
		// A prefix and a wildcard name are compared with a third rule in
		// between: too much to be certain of.
		if !allow.Precedes(&deny) || deny.Precedes(&allow) || crosses(da.Host.Kind, dd.Host.Kind) {
			return false
		}
	}
	return true
}

func crosses(a, b rules.HostKind) bool {
	return a == rules.HostPrefix && b == rules.HostSuffix || a == rules.HostSuffix && b == rules.HostPrefix
}

// meets says whether a rule that is refused may speak of what a speaks of.
func (a *imported) meets(d *imported) bool {
	hosts := d.known.hosts
	if len(hosts) == 0 {
		hosts = []rules.Host{{Kind: rules.HostAny}}
	}
	for _, da := range a.known.dests {
		for _, h := range hosts {
			dd := rules.Destination{Host: h, Proto: d.known.proto, Ports: d.known.ports}
			if named := da.Host.Kind == rules.HostName || da.Host.Kind == rules.HostSuffix; named && dd.Proto != rules.TCP && dd.Ports.Has(domain) {
				dd.Proto, dd.Ports = rules.AnyProto, rules.Ports{} // of lookups, which an allow of a name lets through
			}
			if meet(da, dd) {
				return true
			}
		}
	}
	return false
}

// meet says whether something may be of both destinations.
func meet(a, b rules.Destination) bool {
	return (a.Proto == rules.AnyProto || b.Proto == rules.AnyProto || a.Proto == b.Proto) && a.Ports.Meets(b.Ports) && a.Host.Meets(b.Host)
}
