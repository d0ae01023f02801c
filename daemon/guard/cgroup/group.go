package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Group is one that was made here.
type Group struct {
	Path  string // below the root
	ID    uint64 // its inode's number, by which the kernel knows it
	Level int    // how many groups there are above it

	dir string
}

// Make makes a group.
func (t *Tree) Make(place, name string) (*Group, error) {
	path := filepath.Join(place, name)
	if err := unix.Mkdir(t.path(path), 0o755); err != nil {
		return nil, fmt.Errorf("make cgroup %s: %w", path, err)
	}
	// Whatever the umask and a set-group-ID directory make of it.
	err := errors.Join(os.Chown(t.path(path), 0, 0), os.Chmod(t.path(path), 0o755))
	var g *Group
	if err == nil {
		g, err = t.open(path)
	}
	if err != nil {
		_ = unix.Rmdir(t.path(path))
		return nil, fmt.Errorf("make cgroup %s: %w", path, err)
	}
	return g, nil
}

func (t *Tree) open(path string) (*Group, error) {
	var st unix.Stat_t
	if err := unix.Lstat(t.path(path), &st); err != nil {
		return nil, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	return &Group{Path: path, ID: st.Ino, Level: strings.Count(path, "/"), dir: t.path(path)}, nil
}

// Left returns the groups that are there already with a name that begins so, and
// are root's.
func (t *Tree) Left(prefix string) ([]*Group, error) {
	var list []*Group
	err := filepath.WalkDir(t.path(t.Below), func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // removed meanwhile
		case err != nil:
			return err
		case !d.IsDir() || !strings.HasPrefix(d.Name(), prefix):
			return nil
		}
		rel, err := filepath.Rel(t.Mount, path)
		if err != nil {
			return err
		}
		if w, err := writable(path, 0); err != nil || w || !owned(path) {
			return nil
		}
		g, err := t.open("/" + rel)
		if err == nil {
			list = append(list, g)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for cgroups: %w", err)
	}
	return list, nil
}

func owned(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && st.Uid == 0
}

// Take moves a process, with all its threads, into the group. Its children stay
// where they are.
func (g *Group) Take(pid int) error { return move(g.dir, pid) }

// Move moves a process into any group.
func (t *Tree) Move(pid int, group string) error { return move(t.path(group), pid) }

func move(dir string, pid int) error {
	f, err := os.OpenFile(filepath.Join(dir, "cgroup.procs"), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("move process %d: %w", pid, err)
	}
	defer f.Close()
	if _, err := f.WriteString(strconv.Itoa(pid)); err != nil {
		return fmt.Errorf("move process %d: %w", pid, err)
	}
	return nil
}

// Release moves what is in the group home, which is where its parent is when
// nobody knows it, and removes the group.
func (g *Group) Release(t *Tree, homes map[int]string) error {
	pids, err := g.Processes()
	if err != nil {
		return err
	}
	var errs []error
	for _, pid := range pids {
		home, known := homes[pid]
		if parent, err := parentOf(pid); !known && err == nil {
			home, err = t.Of(parent)
			known = err == nil && home != g.Path
		}
		if !known {
			home = filepath.Dir(g.Path)
		}
		if err := move(t.path(home), pid); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, err)
		}
	}
	_, err = g.Remove()
	return errors.Join(append(errs, err)...)
}

// Processes lists what is in the group.
func (g *Group) Processes() ([]int, error) {
	f, err := os.Open(filepath.Join(g.dir, "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []int
	for s := bufio.NewScanner(f); s.Scan(); {
		if pid, err := strconv.Atoi(s.Text()); err == nil && pid > 0 {
			list = append(list, pid)
		}
	}
	return list, nil
}

// Remove removes the group, if nothing is in it any more, and says whether it is
// gone.
func (g *Group) Remove() (bool, error) {
	switch err := unix.Rmdir(g.dir); err {
	case nil, unix.ENOENT:
		return true, nil
	case unix.EBUSY:
		return false, nil
	default:
		return false, fmt.Errorf("remove cgroup %s: %w", g.Path, err)
	}
}

func parentOf(pid int) (int, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "PPid:"); ok {
			return strconv.Atoi(strings.TrimSpace(v))
		}
	}
	return 0, errors.New("no parent")
}
