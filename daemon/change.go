package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules"
	"github.com/netjail/netjail/rules/rulefile"
)

// errChanged means that somebody else wrote a file. Such changes come into
// force only when they are asked for: a program in a jail may have made them.
var errChanged = errors.New("the file was changed on disk since it was loaded")

// changeLocked writes files, if nobody else has written one of them meanwhile,
// and notes how they were.
func (s *store) changeLocked(what string, next ...*rulefile.File) error {
	if len(next) == 0 {
		return nil
	}
	c := change{What: what}
	for _, f := range next {
		if err := s.checkLocked(f.Name(), f.App()); err != nil {
			return err
		}
		c.add(s.files[f.App()], f)
	}
	s.past.push(&c)
	for _, f := range next {
		if err := rulefile.Save(s.dir, f); err != nil {
			return err
		}
		s.files[f.App()] = f
	}
	return nil
}

// checkLocked says whether an app's file is on disk as it is in force.
func (s *store) checkLocked(path, app string) error {
	onDisk, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("save rules: %w", err)
	}
	if !bytes.Equal(onDisk, s.knownLocked(app)) {
		return fmt.Errorf("save rules: %s: %w", path, errChanged)
	}
	return nil
}

// knownLocked returns the text in force of an app's file.
func (s *store) knownLocked(app string) []byte {
	if f, ok := s.files[app]; ok {
		return f.Bytes()
	}
	return nil
}

// appText is how an app is spelled.
func appText(app string) string {
	if app == "" {
		return api.Every
	}
	return app
}

// someRules names rules for people.
func someRules(list []rules.Rule) string {
	if len(list) != 1 {
		return fmt.Sprintf("%d rules", len(list))
	}
	return fmt.Sprintf("%s %s %s", appText(list[0].App), list[0].Verdict, list[0].Dest)
}

// enable enables the rules with an id, or disables them, and returns them.
func (s *store) enable(id string, on bool) ([]rules.Rule, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var changed []*rulefile.File
	var list []rules.Rule
	for _, app := range s.appsLocked() {
		f, err := s.fileLocked(app)
		if err != nil {
			return nil, err
		}
		next, found, err := f.Enable(id, on)
		if err != nil {
			return nil, err
		}
		if !found {
			continue
		}
		changed = append(changed, next)
		for _, r := range next.Rules() {
			if r.ID() == id {
				list = append(list, r)
			}
		}
	}
	what := map[bool]string{true: "enable ", false: "disable "}[on]
	return list, s.changeLocked(what+someRules(list), changed...)
}

// text returns the file of an app as it is in force, if it is so on disk, too.
func (s *store) text(app string) (path string, text []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.fileLocked(app)
	if err != nil {
		return "", nil, err
	}
	return f.Name(), f.Bytes(), s.checkLocked(f.Name(), app)
}

// replace writes the text of an app's file in place of was.
func (s *store) replace(app string, was, text []byte) ([]rules.Rule, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.fileLocked(app)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(f.Bytes(), was) {
		return nil, fmt.Errorf("save rules: %s: %w", f.Name(), errChanged)
	}
	next, err := rulefile.Parse(f.Name(), app, text)
	if err != nil {
		return nil, err
	}
	return next.Rules(), s.changeLocked("edit "+appText(app), next)
}

// kept is a rule that was not imported, and the one that is there.
type kept struct{ rule, there rules.Rule }

// take adds rules of any apps where no other speaks of the same destination and
// executable: what the user has said before stays. Without dry it writes them.
func (s *store) take(list []rules.Rule, dry bool) (added, same []rules.Rule, other []kept, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var changed []*rulefile.File
	for len(list) > 0 {
		app := list[0].App
		var mine, rest []rules.Rule
		for _, r := range list {
			if r.App == app {
				mine = append(mine, r)
			} else {
				rest = append(rest, r)
			}
		}
		list = rest
		f, err := s.fileLocked(app)
		if err != nil {
			return nil, nil, nil, err
		}
		fresh, known, clash := sift(f.Rules(), mine, time.Now())
		same, other = append(same, known...), append(other, clash...)
		if len(fresh) == 0 {
			continue
		}
		next, err := f.Append(fresh...)
		if err != nil {
			return nil, nil, nil, err
		}
		changed = append(changed, next)
		added = append(added, next.Rules()[len(f.Rules()):]...)
	}
	if !dry {
		err = s.changeLocked("import "+someRules(added), changed...)
	}
	return added, same, other, err
}

// sift tells rules of one app that are new from those that are there, and from
// those in whose place another rule speaks.
func sift(there, list []rules.Rule, now time.Time) (fresh, same []rules.Rule, other []kept) {
	speaks := make(map[target]rules.Rule)
	exact := make(map[rules.Rule]bool)
	for _, r := range there {
		exact[plain(r)] = true
		if r.Active(now) {
			speaks[target{r.Dest, r.Exe}] = r
		}
	}
	for _, r := range list {
		o, found := speaks[target{r.Dest, r.Exe}]
		switch {
		case exact[plain(r)]:
			same = append(same, r)
		case found:
			other = append(other, kept{r, o})
		default:
			fresh = append(fresh, r)
		}
	}
	return fresh, same, other
}

// target is what two rules of one file may not both be for.
type target struct {
	dest rules.Destination
	exe  string
}

// plain is a rule without its place, and what is only remembered of it.
func plain(r rules.Rule) rules.Rule {
	r.Source, r.Created, r.Note, r.By = rules.Source{}, time.Time{}, "", ""
	return r
}

// differences returns what is on disk and not in force, or the other way around,
// as unified diffs by file.
func (s *store) differences() ([]api.FileDiff, error) {
	onDisk, err := rulefile.Read(s.dir)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := make(map[string][]byte)
	for _, f := range s.files {
		known[f.Name()] = f.Bytes()
	}
	var paths []string
	for path := range onDisk {
		paths = append(paths, path)
	}
	for path := range known {
		if _, ok := onDisk[path]; !ok {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	list := []api.FileDiff{}
	for _, path := range paths {
		if !bytes.Equal(known[path], onDisk[path]) {
			list = append(list, api.FileDiff{File: path, Diff: rulefile.Diff(path+" (in force)", path+" (on disk)", known[path], onDisk[path])})
		}
	}
	return list, nil
}
