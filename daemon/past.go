package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules/rulefile"
)

// Bounds on what is kept of changes that can be undone.
const (
	maxChanges     = 50
	maxChangeBytes = 16 << 20
)

// past keeps how rule files were before netjail changed them, one file for
// each change. It is a convenience: a change that cannot be noted is made all
// the same, and one before it is not undone then, for the files differ.
type past struct {
	dir string // "": nothing is kept
}

// change is one change of rule files.
type change struct {
	Time  time.Time     `json:"time"`
	What  string        `json:"what"`
	Files []changedFile `json:"files"`
}

type changedFile struct {
	App    string `json:"app"`
	Before string `json:"before"`
	Was    bool   `json:"was"`   // there was a file
	After  string `json:"after"` // its SHA-256 since
}

func (c *change) add(before, after *rulefile.File) {
	f := changedFile{App: after.App(), After: digest(after.Bytes())}
	if before != nil {
		f.Was, f.Before = true, string(before.Bytes())
	}
	c.Files = append(c.Files, f)
}

func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// push notes a change, and forgets the oldest that are too many or too large.
func (j *past) push(c *change) {
	if j.dir == "" {
		return
	}
	c.Time = time.Now().UTC()
	data, err := json.Marshal(c)
	if err != nil || os.MkdirAll(j.dir, 0o700) != nil {
		return
	}
	names := j.names()
	next := 1
	if n := len(names); n > 0 {
		_, _ = fmt.Sscanf(names[n-1], "%08d", &next)
		next++
	}
	if writeFile(filepath.Join(j.dir, fmt.Sprintf("%08d.json", next)), data) != nil {
		return
	}
	size := int64(len(data))
	for i, name := range slices.Backward(names) {
		path := filepath.Join(j.dir, name)
		if info, err := os.Stat(path); err == nil {
			size += info.Size()
		}
		if len(names)-i >= maxChanges || size > maxChangeBytes {
			_ = os.Remove(path)
		}
	}
}

// names lists the files of the past, the latest last.
func (j *past) names() (list []string) {
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if len(e.Name()) == len("00000000.json") && strings.HasSuffix(e.Name(), ".json") {
			list = append(list, e.Name())
		}
	}
	return list
}

var errNoChange = &api.Error{Text: "no change of netjail's to undo", Code: api.CodeNotFound}

// last returns the latest change, and where it is noted.
func (j *past) last() (c change, path string, err error) {
	names := j.names()
	if j.dir == "" || len(names) == 0 {
		return c, "", errNoChange
	}
	path = filepath.Join(j.dir, names[len(names)-1])
	data, err := os.ReadFile(path)
	if err != nil {
		return c, path, fmt.Errorf("undo: %w", err)
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, path, fmt.Errorf("undo: %s: %w", path, err)
	}
	return c, path, nil
}

var errUndo = errors.New("the files have changed since then: undo is for the last change only")

// undo puts the files back that the last change changed, if they are as it left
// them.
func (s *store) undo() (*api.RuleUndo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, path, err := s.past.last()
	if err != nil {
		return nil, err
	}
	out := &api.RuleUndo{Time: c.Time, What: c.What, Files: []api.FileDiff{}}
	var back []*rulefile.File
	for _, was := range c.Files {
		f, err := s.fileLocked(was.App)
		if err != nil {
			return nil, err
		}
		if err := s.checkLocked(f.Name(), was.App); err != nil {
			return nil, err
		}
		if digest(f.Bytes()) != was.After {
			return nil, &api.Error{Text: fmt.Sprintf("undo %s: %v", c.What, errUndo), Hint: "netjail rules edit " + appText(was.App)}
		}
		old, err := rulefile.Parse(f.Name(), was.App, []byte(was.Before))
		if err != nil {
			return nil, fmt.Errorf("undo %s: %w", c.What, err)
		}
		back = append(back, old)
		out.Files = append(out.Files, api.FileDiff{File: f.Name(), Diff: rulefile.Diff(f.Name(), f.Name(), f.Bytes(), old.Bytes())})
	}
	for i, f := range back {
		if !c.Files[i].Was {
			err = rulefile.Delete(s.dir, f.App())
			delete(s.files, f.App())
		} else if err = rulefile.Save(s.dir, f); err == nil {
			s.files[f.App()] = f
		}
		if err != nil {
			return nil, err
		}
	}
	_ = os.Remove(path) // one that stays is found out: the files differ
	return out, nil
}
