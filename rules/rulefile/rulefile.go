// Package rulefile keeps rules in TOML files that people and netjail both
// edit: one file per app, and one for every app.
//
//	files, err := rulefile.Load(dir)
//	f, err := files[0].Add(rule)
//	err = rulefile.Save(dir, f)
//
// An edit changes the lines of one rule and leaves comments, order and every
// other line alone. What is not understood is an error with its file and line,
// never skipped: a rule that is lost silently is a hole. This package does not
// decide anything and does not watch files.
package rulefile

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/netjail/netjail/rules"
)

const (
	maxFile = 4 << 20  // bytes of a file
	maxLine = 64 << 10 // bytes of one of its lines

	ext     = ".toml"
	allName = "@all" // the file of every app: no app can have this name
)

// Error is what is wrong with a rule file or its directory, and where. Lines
// count from 1; line 0 is the file as a whole.
type Error struct {
	File string
	Line int
	Err  error
}

// Error returns "file:line: what".
func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
}

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// File is one rule file: its rules and its text. It never changes: an edit
// gives a new File.
type File struct {
	name   string
	app    string
	data   []byte
	rules  []rules.Rule
	blocks []block // one per rule
}

// FileName returns the base name of an app's rule file: "@all.toml" for every
// app ("").
func FileName(app string) string {
	if app == "" {
		app = allName
	}
	return app + ext
}

// appOf is the reverse of FileName.
func appOf(fileName string) (string, error) {
	app := strings.TrimSuffix(filepath.Base(fileName), ext)
	if app == allName {
		return "", nil
	}
	return app, rules.CheckAppName(app)
}

// Parse reads the text of the rule file of one app, or of every app (""). The
// name is for errors and for the Source of the rules. The error is an *Error.
func Parse(name, app string, data []byte) (*File, error) {
	if app != "" {
		if err := rules.CheckAppName(app); err != nil {
			return nil, &Error{File: name, Err: err}
		}
	}
	data = slices.Clip(slices.Clone(data))
	if err := checkText(name, data, maxFile); err != nil {
		return nil, err
	}
	p := newParser(name, app, data)
	if err := p.parse(); err != nil {
		return nil, err
	}
	return &File{name: name, app: app, data: data, rules: p.rules, blocks: p.blocks}, nil
}

// Name returns the name given to Parse; for Load, the path.
func (f *File) Name() string { return f.name }

// App returns the app that the rules are of, "" for every app.
func (f *File) App() string { return f.app }

// Rules returns a copy of the rules, in the order of the file.
func (f *File) Rules() []rules.Rule { return slices.Clone(f.rules) }

// Len returns how many rules there are.
func (f *File) Len() int { return len(f.rules) }

// AppendRules appends the rules to list, in the order of the file.
func (f *File) AppendRules(list []rules.Rule) []rules.Rule { return append(list, f.rules...) }

// Bytes returns a copy of the text.
func (f *File) Bytes() []byte { return slices.Clone(f.data) }
