package project

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// trusts is the file of what was trusted. A path counts with the content that it
// had then.
type trusts struct {
	Version int              `json:"version"`
	Files   map[string]trust `json:"files"` // by absolute path
}

type trust struct {
	SHA256 string    `json:"sha256"`
	Since  time.Time `json:"since"`
}

// trustFile is its name in the state directory.
const trustFile = "trusted.json"

const trustVersion = 1

// State says how a file stands to what was trusted.
type State uint8

// The states of a file. The zero value is not trusted.
const (
	Unknown State = iota
	Changed       // other content of it was trusted
	Trusted
)

// Look says whether a file is trusted, by what is in stateDir.
func Look(stateDir string, f *File) (State, error) {
	all, err := load(stateDir)
	if err != nil {
		return Unknown, err
	}
	t, ok := all.Files[f.Path]
	switch {
	case !ok:
		return Unknown, nil
	case t.SHA256 != f.sum():
		return Changed, nil
	}
	return Trusted, nil
}

// Trust remembers that the user trusts a file as it was read.
func Trust(stateDir string, f *File) error {
	return change(stateDir, func(all *trusts) { all.Files[f.Path] = trust{f.sum(), time.Now().UTC().Truncate(time.Second)} })
}

// Distrust forgets a file, and says whether it was known.
func Distrust(stateDir, path string) (known bool, err error) {
	err = change(stateDir, func(all *trusts) {
		_, known = all.Files[path]
		delete(all.Files, path)
	})
	return known, err
}

func (f *File) sum() string {
	sum := sha256.Sum256(f.bytes)
	return hex.EncodeToString(sum[:])
}

// load reads what was trusted. A file that cannot be read trusts nothing, and
// is an error.
func load(stateDir string) (*trusts, error) {
	all := &trusts{Version: trustVersion, Files: make(map[string]trust)}
	name := filepath.Join(stateDir, trustFile)
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, fmt.Errorf("trusted projects: %w", err)
	}
	if err := json.Unmarshal(text, all); err != nil {
		return nil, fmt.Errorf("trusted projects: %s: %w", name, err)
	}
	if all.Version != trustVersion || all.Files == nil {
		return nil, fmt.Errorf("trusted projects: %s: version %d is not known here", name, all.Version)
	}
	return all, nil
}

func change(stateDir string, f func(*trusts)) error {
	all, err := load(stateDir)
	if err != nil {
		return err
	}
	f(all)
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return fmt.Errorf("trusted projects: %w", err)
	}
	tmp, err := os.CreateTemp(stateDir, trustFile+".*")
	if err != nil {
		return fmt.Errorf("trusted projects: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(append(text, '\n'))
	if err == nil {
		err = tmp.Sync()
	}
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(stateDir, trustFile))
	}
	if err != nil {
		return fmt.Errorf("trusted projects: %w", err)
	}
	return nil
}
