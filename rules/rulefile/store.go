package rulefile

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Load reads every rule file of a directory, sorted by name; a directory that
// does not exist has none.
//
// It returns files only if all of them are good, so that a lost deny rule is
// never taken for one that nobody wrote: on an error the caller keeps what it
// had. The directory and the files must belong to the user or root, be real
// (no symbolic links), and be writable by nobody else.
func Load(dir string) ([]*File, error) {
	var files []*File
	err := each(dir, func(root *os.Root, name string) error {
		f, err := load(root, dir, name)
		if err == nil {
			files = append(files, f)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return files, nil
}

// Read returns the texts of the rule files of a directory by their paths,
// whether or not they are good.
func Read(dir string) (map[string][]byte, error) {
	texts := make(map[string][]byte)
	err := each(dir, func(root *os.Root, name string) (err error) {
		path := filepath.Join(dir, name)
		if texts[path], err = read(root, name); err != nil {
			return &Error{File: path, Err: err}
		}
		return nil
	})
	return texts, err
}

// each calls do for every rule file of a directory, and joins its errors.
func each(dir string, do func(root *os.Root, name string) error) error {
	// Lstat: a link to nowhere is a mistake, not a missing directory.
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	root, err := openDir(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return &Error{File: dir, Err: err}
	}
	var errs []error
	for _, e := range entries {
		if isRuleFile(e.Name()) {
			errs = append(errs, do(root, e.Name()))
		}
	}
	return errors.Join(errs...)
}

// Delete removes the rule file of an app, if there is one.
func Delete(dir, app string) error {
	root, err := openDir(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	name := FileName(app)
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", filepath.Join(dir, name), err)
	}
	return syncDir(root)
}

// isRuleFile leaves out other files and the locks that Emacs puts beside a file
// while somebody edits it (.#name, a dangling link).
func isRuleFile(name string) bool {
	return strings.HasSuffix(name, ext) && !strings.HasPrefix(name, ".#")
}

func load(root *os.Root, dir, name string) (*File, error) {
	path := filepath.Join(dir, name)
	app, err := appOf(name)
	if err != nil {
		return nil, &Error{File: path, Err: fmt.Errorf("%w: rename the file APP%s, or %s for every app", err, ext, FileName(""))}
	}
	data, err := read(root, name)
	if err != nil {
		return nil, &Error{File: path, Err: err}
	}
	return Parse(path, app, data)
}

// read reads one file of the directory. O_NONBLOCK: a FIFO must not hang us
// before fstat tells what it is. A Root follows a link that stays inside it
// even with O_NOFOLLOW, so what was opened is compared with what stands there.
func read(root *os.Root, name string) ([]byte, error) {
	named, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if named.Mode().Type() == fs.ModeSymlink {
		return nil, errors.New("a symbolic link: put the file itself here")
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !os.SameFile(info, named) {
		return nil, errors.New("replaced while it was read: try again")
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	if err := checkOwner(info, filepath.Join(root.Name(), name)); err != nil {
		return nil, err
	}
	var text bytes.Buffer
	text.Grow(int(min(info.Size(), maxFile)) + bytes.MinRead)
	_, err = text.ReadFrom(io.LimitReader(f, maxFile+1))
	return text.Bytes(), err
}

// openDir opens the directory of rule files and checks that nobody else can
// have put something there. Its errors are of type *Error.
func openDir(dir string) (*os.Root, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, &Error{File: dir, Err: err}
	}
	if err := checkDir(root, dir); err != nil {
		root.Close()
		return nil, &Error{File: dir, Err: err}
	}
	return root, nil
}

// checkDir compares what was opened with what stands at the path itself, so
// that a link there is found however it is timed.
func checkDir(root *os.Root, dir string) error {
	opened, err := root.Stat(".")
	if err != nil {
		return err
	}
	named, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !named.IsDir() || !os.SameFile(opened, named) {
		return errors.New("a symbolic link: give the directory itself")
	}
	return checkOwner(opened, dir)
}

// checkOwner refuses what somebody else owns or may write.
func checkOwner(info fs.FileInfo, path string) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("owner unknown")
	}
	uid := os.Geteuid()
	if st.Uid != 0 && int(st.Uid) != uid {
		return fmt.Errorf("belongs to uid %d: run chown %d %s as root, or remove it", st.Uid, uid, path)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("others may write to it: run chmod go-w %s", path)
	}
	return nil
}

// Save writes the file into the directory under FileName(f.App()), atomically:
// whoever reads meanwhile, or after a crash, sees the old text or the new one.
// A missing directory is made. The error keeps the errno.
func Save(dir string, f *File) error {
	name := FileName(f.app)
	if err := save(dir, name, f.data); err != nil {
		return fmt.Errorf("save %s: %w", filepath.Join(dir, name), err)
	}
	return nil
}

func save(dir, name string, data []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	root, err := openDir(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	// Not a rule file by its name: Load passes over what a crash leaves.
	temp := "." + name + "." + rand.Text()
	if err := writeTemp(root, temp, data); err != nil {
		return errors.Join(err, removeTemp(root, temp))
	}
	if err := root.Rename(temp, name); err != nil {
		return errors.Join(err, removeTemp(root, temp))
	}
	return syncDir(root)
}

func removeTemp(root *os.Root, temp string) error {
	if err := root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func writeTemp(root *os.Root, temp string, data []byte) (err error) {
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

// syncDir makes the rename last over a crash.
func syncDir(root *os.Root) error {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
