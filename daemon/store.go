package daemon

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
	"github.com/netjail/netjail/rules/rulefile"
)

// store holds the rules in force: those of the files as they were when they
// were last loaded or written by netjail, and those of running jails.
type store struct {
	dir  string
	past past

	mu      sync.Mutex
	files   map[string]*rulefile.File // by app
	running []rules.Rule              // of lifetime UntilExit
	loaded  bool                      // the files have been read without an error
	problem error                     // why the files on disk are not in force
}

func newStore(dir string) *store {
	return &store{dir: dir, files: make(map[string]*rulefile.File)}
}

// load reads all files. On an error the rules stay as they are.
func (s *store) load() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	files, err := rulefile.Load(s.dir)
	s.problem = err
	if err != nil {
		return err
	}
	s.loaded = true
	clear(s.files)
	for _, f := range files {
		s.files[f.App()] = f
	}
	return nil
}

// trouble returns why no rules are in force at all, or nil. Nothing may be
// started then: a rule that denies may be in the file that cannot be read.
func (s *store) trouble() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loaded {
		return nil
	}
	return s.problem
}

// unread returns why the files on disk are not in force, or nil.
func (s *store) unread() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.problem
}

// all returns every rule, sorted by app and place in its file.
func (s *store) all() []rules.Rule {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.allLocked()
}

func (s *store) allLocked() []rules.Rule {
	n := len(s.running)
	for _, f := range s.files {
		n += f.Len()
	}
	list := make([]rules.Rule, 0, n)
	for _, app := range s.appsLocked() {
		list = s.files[app].AppendRules(list)
	}
	return append(list, s.running...)
}

// holding returns the rules that hold in a jail of app.
func (s *store) holding(app, jail string) []rules.Rule {
	return slices.DeleteFunc(s.all(), func(r rules.Rule) bool {
		return r.App != "" && r.App != app || !r.HoldsIn(jail)
	})
}

// add keeps a rule: in its app's file, or with its jail. A rule for the same
// destination is replaced; one that is there already as it is changes nothing.
func (s *store) add(r rules.Rule) (rules.Rule, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Jail != "" {
		s.running = slices.DeleteFunc(s.running, func(o rules.Rule) bool {
			return o.Jail == r.Jail && o.Dest.Equal(r.Dest) && o.Exe == r.Exe
		})
		s.running = append(s.running, r)
		return r, nil
	}
	for _, o := range s.allLocked() {
		if o.ID() == r.ID() && o.Jail == "" && !o.Disabled && o.Expires.Equal(r.Expires) &&
			o.Local == r.Local && o.Refuse == r.Refuse && (r.Note == "" || o.Note == r.Note) {
			return o, nil
		}
	}
	f, err := s.fileLocked(r.App)
	if err != nil {
		return r, err
	}
	next, err := f.Add(r)
	if err != nil {
		return r, err
	}
	if err := s.changeLocked(fmt.Sprintf("add %s %s %s", appText(r.App), r.Verdict, r.Dest), next); err != nil {
		return r, err
	}
	for _, o := range next.Rules() {
		if o.ID() == r.ID() {
			return o, nil
		}
	}
	return r, fmt.Errorf("%s: the rule is not in the file that was written: please report this", f.Name())
}

// remove removes the rules that pick selects, and returns them.
func (s *store) remove(pick func(*rules.Rule) bool) ([]rules.Rule, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var removed []rules.Rule
	s.running = slices.DeleteFunc(s.running, func(r rules.Rule) bool {
		if pick(&r) {
			removed = append(removed, r)
			return true
		}
		return false
	})
	var changed []*rulefile.File
	var gone []rules.Rule
	for _, app := range s.appsLocked() {
		f, err := s.fileLocked(app)
		if err != nil {
			return removed, err
		}
		next := f
		for _, r := range f.Rules() {
			if !pick(&r) {
				continue
			}
			if next, _, err = next.Remove(r.ID()); err != nil {
				return removed, err
			}
			gone = append(gone, r)
		}
		if next != f {
			changed = append(changed, next)
		}
	}
	if err := s.changeLocked("remove "+someRules(gone), changed...); err != nil {
		return removed, err
	}
	return append(removed, gone...), nil
}

func (s *store) appsLocked() []string {
	apps := make([]string, 0, len(s.files))
	for app := range s.files {
		apps = append(apps, app)
	}
	slices.Sort(apps)
	return apps
}

func (s *store) fileLocked(app string) (*rulefile.File, error) {
	if !s.loaded {
		return nil, s.problem
	}
	if f, ok := s.files[app]; ok {
		return f, nil
	}
	return rulefile.Parse(filepath.Join(s.dir, rulefile.FileName(app)), app, nil)
}

// forget drops the rules of a jail that has ended.
func (s *store) forget(jail string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = slices.DeleteFunc(s.running, func(r rules.Rule) bool { return r.Jail == jail })
}

// asError describes err for a person.
func asError(err error) *api.Error {
	var known *api.Error
	if errors.As(err, &known) {
		return known
	}
	e := &api.Error{Text: err.Error()}
	var file *rulefile.Error
	switch {
	case errors.Is(err, errChanged):
		e.Hint = "netjail rules check && netjail rules reload"
	case errors.As(err, &file):
		e.Hint = "correct it, then: netjail rules check && netjail rules reload"
	}
	return e
}

// ruleFor makes the rule that an answer asks for; ok is false for Once.
func ruleFor(app, jail string, a notifier.Answer, now time.Time) (r rules.Rule, ok bool) {
	r = rules.Rule{App: app, Verdict: a.Verdict, Dest: a.Dest, By: "prompt", Created: now.UTC().Truncate(time.Second)}
	if a.By == byCLI {
		r.By = byCLI
	}
	switch a.Lifetime.Kind {
	case rules.UntilExit:
		r.Jail, r.Run = jail, true
	case rules.For:
		r.Expires = r.Created.Add(a.Lifetime.For)
	case rules.Always:
	default:
		return r, false
	}
	return r, true
}
