// Package cgroup makes control groups that their processes cannot leave, and
// puts processes into them.
//
//	tree, err := cgroup.Find()
//	place, err := tree.Place(pid, uid)
//	g, err := tree.Make(place, "netjail-0123")
//	err = g.Take(pid)
//	gone, err := g.Remove()
//
// Who moves a process from one group to another needs write access to the
// cgroup.procs of the destination, and of the nearest group that both are in (the
// kernel's cgroup-v2.rst, "Delegation Containment"). So a group from which user
// U cannot get out lies directly below one that U cannot write, and above which
// there is none that U can: whatever U has below the same one, or elsewhere, the
// nearest common group is not U's. It is root's and its files are root's, so
// nobody else puts anything there, or makes groups below. For user 0 there is no
// such place.
//
// A socket belongs to the group in which its creator was then. The package knows
// that no more than anything else of the network.
package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Tree is the hierarchy of cgroups, version 2.
type Tree struct {
	Mount string // where it is mounted
	Below string // only what is below this group is touched; "/": all
}

// Find finds the hierarchy. A machine that also has version 1 mounts it below
// another directory than one that has not.
func Find() (*Tree, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if mount := mountOf(s.Text()); mount != "" {
			return &Tree{Mount: mount, Below: "/"}, nil
		}
	}
	return nil, errors.New("cgroup version 2 is not mounted: mount -t cgroup2 none /sys/fs/cgroup")
}

// mountOf returns where a line of /proc/self/mountinfo, see proc_pid_mountinfo(5),
// mounts the hierarchy's root, or "".
func mountOf(line string) string {
	before, after, ok := strings.Cut(line, " - ")
	fields := strings.Fields(before)
	if !ok || len(fields) < 6 || !strings.HasPrefix(after, "cgroup2 ") || fields[3] != "/" || strings.Contains(fields[4], `\`) {
		return ""
	}
	return fields[4]
}

// Of returns the group of a process, as a path below the root.
func (t *Tree) Of(pid int) (string, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return "", fmt.Errorf("cgroup of process %d: %w", pid, err)
	}
	return groupOf(string(b))
}

// groupOf reads /proc/PID/cgroup. A group that is not below the reader's own
// root begins with "/..".
func groupOf(text string) (string, error) {
	for line := range strings.Lines(text) {
		path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if !ok {
			continue
		}
		if path != filepath.Clean(path) || !filepath.IsAbs(path) || strings.HasPrefix(path, "/..") {
			return "", fmt.Errorf("cgroup %q cannot be seen from here", path)
		}
		return path, nil
	}
	return "", errors.New("in no cgroup of version 2")
}

// Place returns the group below which one may be made, for a process in the
// given one, that user uid cannot have it leave.
func (t *Tree) Place(group string, uid int) (string, error) {
	place := ""
	for path := "/"; ; {
		writable, err := writable(t.path(path), uid)
		if err != nil {
			return "", fmt.Errorf("place below %s: %w", group, err)
		}
		if writable {
			break
		}
		place = path
		next, more := child(path, group)
		if !more {
			break
		}
		path = next
	}
	if place == "" || !below(place, t.Below) {
		return "", fmt.Errorf("place below %s: user %d may move processes anywhere in it", group, uid)
	}
	return place, nil
}

// child returns the group below path on the way to group.
func child(path, group string) (string, bool) {
	rest := strings.TrimPrefix(strings.TrimPrefix(group, path), "/")
	if path == group || rest == "" {
		return "", false
	}
	name, _, _ := strings.Cut(rest, "/")
	return filepath.Join(path, name), true
}

func below(path, root string) bool {
	return root == "/" || path == root || strings.HasPrefix(path, root+"/")
}

func (t *Tree) path(group string) string { return filepath.Join(t.Mount, group) }

// writable says whether a user may put processes into a directory's group, or
// could give itself the right to. Who is in which group of users is not looked
// at: what any of them can write counts as written by all. Nobody but root writes
// a group's files by capability alone.
func writable(dir string, uid int) (bool, error) {
	for _, path := range []string{dir, filepath.Join(dir, "cgroup.procs")} {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return false, &os.PathError{Op: "lstat", Path: path, Err: err}
		}
		if uid != 0 && int(st.Uid) == uid || st.Mode&0o022 != 0 {
			return true, nil
		}
	}
	return false, nil
}
