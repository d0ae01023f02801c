package cli

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/rules/rulefile"
)

// target is where learned rules go, as it was before the run. The program can
// write files too: what has changed meanwhile is not written over.
type target struct {
	path  string // "": nowhere, "-": standard output
	merge bool
	file  *rulefile.File
	there bool // the file was
	mode  fs.FileMode
}

// openTarget looks at the file before anything is run.
func openTarget(f *learnFlags, app string) (*target, error) {
	t := &target{path: f.out, merge: f.merge, mode: 0o666}
	text := header(app)
	if f.merge && (t.path == "" || t.path == "-") {
		return nil, errors.New("--merge: there is no file to add to: give -o FILE")
	}
	if t.path != "" && t.path != "-" {
		old, err := os.ReadFile(t.path)
		switch {
		case err == nil && !f.merge:
			return nil, hint(fmt.Errorf("-o: %s is there already", t.path), "--merge adds to it")
		case err == nil:
			text, t.there = old, true
			if err := t.follow(); err != nil {
				return nil, err
			}
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("-o: %w", err)
		}
		if _, err := os.Stat(filepath.Dir(t.path)); err != nil {
			return nil, fmt.Errorf("-o: %w", err)
		}
	}
	var err error
	if t.file, err = rulefile.Parse(t.name(), app, text); err != nil {
		return nil, fmt.Errorf("-o: %w", err)
	}
	return t, nil
}

// follow finds the file behind symbolic links, which stay.
func (t *target) follow() (err error) {
	if t.path, err = filepath.EvalSymlinks(t.path); err != nil {
		return fmt.Errorf("-o: %w", err)
	}
	info, err := os.Stat(t.path)
	if err != nil {
		return fmt.Errorf("-o: %w", err)
	}
	t.mode = info.Mode().Perm()
	return nil
}

func (t *target) name() string {
	if t.path == "" {
		return "-"
	}
	return t.path
}

// errMeanwhile is why a file is not written that the run has changed.
var errMeanwhile = errors.New("it was written by somebody else during the run")

// save writes the file, all or nothing.
func (t *target) save(text []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", t.path, err)
		}
	}()
	temp := t.path + "." + rand.Text()
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, t.mode)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	_, err = f.Write(text)
	if t.there && err == nil {
		err = f.Chmod(t.mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	if !t.there {
		err = unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, t.path, unix.RENAME_NOREPLACE)
		if errors.Is(err, fs.ErrExist) {
			err = errMeanwhile
		}
		return err
	}
	if now, err := os.ReadFile(t.path); err != nil || !bytes.Equal(now, t.file.Bytes()) {
		return errors.Join(errMeanwhile, err)
	}
	return os.Rename(temp, t.path)
}
