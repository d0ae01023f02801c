// Package project finds the rules that a directory brings along: the nearest
// .netjail.toml at or above it.
//
//	f, err := project.Find(dir)
//	if f != nil {
//		known, err := project.Trusted(stateDir, f)
//		list := f.Rules(known)
//	}
//
// Such a file comes with what was downloaded, so it is not the user's word: what
// it denies holds, what it allows does only once the user has trusted this very
// content. The file is one of rules, as package rulefile reads it.
package project

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/rules"
	"github.com/netjail/netjail/rules/rulefile"
)

// Name is the name of a project's file.
const Name = ".netjail.toml"

// maxFile bounds what is read of one.
const maxFile = 1 << 20

// File is a project's rules.
type File struct {
	Path  string // absolute
	file  *rulefile.File
	bytes []byte
}

// Find returns the nearest project file at or above dir, or nil where there is
// none. One that belongs to somebody else, such as in /tmp, is none. One that
// does not parse is an error: it may deny something.
func Find(dir string) (*File, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("project: %w", err)
	}
	for {
		f, err := Read(filepath.Join(dir, Name))
		if f != nil || err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, errOthers) {
			return f, err
		}
		if dir == filepath.Dir(dir) {
			return nil, nil
		}
		dir = filepath.Dir(dir)
	}
}

// errOthers means that a file is neither the user's nor root's.
var errOthers = errors.New("it belongs to somebody else")

// Read reads one project file.
func Read(path string) (*File, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("project: %w", err)
	}
	// Not to hang on a FIFO.
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("project: %w", err)
	}
	defer file.Close()
	fi, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("project: %w", err)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	switch {
	case !fi.Mode().IsRegular():
		return nil, fmt.Errorf("project: %s is no file", path)
	case !ok || st.Uid != 0 && int(st.Uid) != os.Getuid():
		return nil, fmt.Errorf("project: %s: %w", path, errOthers)
	case fi.Size() > maxFile:
		return nil, fmt.Errorf("project: %s is larger than %d KiB", path, maxFile>>10)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return nil, fmt.Errorf("project: %w", err)
	}
	parsed, err := rulefile.Parse(path, "", text)
	if err != nil {
		return nil, fmt.Errorf("project: %w", err)
	}
	return &File{Path: path, file: parsed, bytes: text}, nil
}

// Rules returns the rules that hold: all of them, or of a file that is not
// trusted those that deny.
func (f *File) Rules(trusted bool) []rules.Rule {
	var list []rules.Rule
	for _, r := range f.file.Rules() {
		if trusted || r.Verdict == rules.Deny {
			r.By = "project"
			list = append(list, r)
		}
	}
	return list
}

// Widens returns the rules that hold only if the file is trusted. One that asks
// is among them: it could come before one of the user's that denies.
func (f *File) Widens() []rules.Rule {
	var list []rules.Rule
	for _, r := range f.file.Rules() {
		if r.Verdict != rules.Deny && !r.Disabled {
			list = append(list, r)
		}
	}
	return list
}
