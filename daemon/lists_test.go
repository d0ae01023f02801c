package daemon

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules/blocklist"
)

// listDir is a directory with lists, and what a daemon keeps of them.
type listDir struct {
	t   *testing.T
	dir string
}

func newListDir(t *testing.T) listDir { return listDir{t, t.TempDir()} }

func (d listDir) path(name string) string { return filepath.Join(d.dir, name) }

// write writes a file and returns its path.
func (d listDir) write(name, text string) string {
	d.t.Helper()
	if err := os.WriteFile(d.path(name), []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return d.path(name)
}

// lists is what a daemon knows when it starts.
func (d listDir) lists() *blocklists {
	return newBlocklists(d.path("config/blocklists"), d.path("state/blocklist.db"))
}

func (d listDir) loaded() *blocklists {
	d.t.Helper()
	b := d.lists()
	if err := b.load(); err != nil {
		d.t.Fatal(err)
	}
	return b
}

func (b *blocklists) add(files ...string) error {
	return b.change(func(text []byte, old []string) ([]byte, error) { return withNames(text, old, files) })
}

func (b *blocklists) drop(files ...string) error {
	return b.change(func(text []byte, old []string) ([]byte, error) { return withoutNames(text, old, files) })
}

// blocks says whether what supervisors are told to open blocks a name.
func blocks(t *testing.T, b *blocklists, name string) bool {
	t.Helper()
	if b.path() == "" {
		return false
	}
	l, err := blocklist.Open(b.path())
	if err != nil {
		t.Fatal(err)
	}
	_, _, blocked := l.Lookup(name)
	return blocked
}

func TestBlocklistsKeep(t *testing.T) {
	d := newListDir(t)
	b := d.loaded()
	if b.path() != "" || b.trouble() != nil {
		t.Errorf("without lists: path %q, trouble %v", b.path(), b.trouble())
	}
	one, two := d.write("one", "one.example\n"), d.write("two", "two.example\n")
	if err := b.add(one, two, one); err != nil {
		t.Fatal(err)
	}
	first := b.path()
	if !blocks(t, b, "x.one.example") || !blocks(t, b, "two.example") {
		t.Error("what was added is not blocked")
	}
	if err := b.drop(one); err != nil {
		t.Fatal(err)
	}
	if blocks(t, b, "one.example") || !blocks(t, b, "two.example") || b.path() == first {
		t.Errorf("after a removal: path %s, before %s", b.path(), first)
	}
	// Who was told of the list before can still open it.
	if _, err := blocklist.Open(first); err != nil {
		t.Error(err)
	}
	if err := b.drop(one); err == nil {
		t.Error("a list that is not there was removed")
	}
	// The next daemon does not need the file.
	if err := os.Remove(two); err != nil {
		t.Fatal(err)
	}
	again := d.loaded()
	if !blocks(t, again, "two.example") {
		t.Error("after a restart nothing is blocked")
	}
	if got := again.describe().Files; len(got) != 1 || got[0].State != api.BlocklistMissing {
		t.Errorf("after a restart: %+v", got)
	}
	if err := again.drop(two); err != nil || again.path() != "" {
		t.Errorf("removed all: %v, path %q", err, again.path())
	}
	if _, err := os.Stat(d.path("state/blocklist.db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was compiled is left: %v", err)
	}
}

// TestBlocklistsSealed: what supervisors map can be opened by other processes
// of the user, and changed by none, as a program in a jail would like to.
func TestBlocklistsSealed(t *testing.T) {
	d := newListDir(t)
	b := d.loaded()
	if err := b.add(d.write("one", "one.example\n")); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("cmp", b.path(), d.path("state/blocklist.db")).Run(); err != nil {
		t.Errorf("cmp in another process: %v", err)
	}
	f, err := os.OpenFile(b.path(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 100), 0); !errors.Is(err, os.ErrPermission) {
		t.Errorf("write: %v, want %v", err, os.ErrPermission)
	}
	if err := f.Truncate(0); !errors.Is(err, os.ErrPermission) {
		t.Errorf("truncate: %v, want %v", err, os.ErrPermission)
	}
	// Its file on disk is for the next daemon only.
	if err := os.Truncate(d.path("state/blocklist.db"), 0); err != nil {
		t.Fatal(err)
	}
	if !blocks(t, b, "one.example") {
		t.Error("emptying the file on disk opens a name")
	}
}

func TestBlocklistsBroken(t *testing.T) {
	d := newListDir(t)
	b := d.loaded()
	one := d.write("one", "one.example\n")
	if err := b.add(one); err != nil {
		t.Fatal(err)
	}
	path, names := b.path(), d.path("config/blocklists")
	d.write("one", "new.example\n<html>\n")
	err := b.update()
	if at, ok := errors.AsType[*blocklist.Error](err); !ok || at.File != one || at.Line != 2 {
		t.Errorf("update: %v, want %s:2", err, one)
	}
	if err := b.add(d.write("two", "two.example\n")); err == nil {
		t.Error("added beside a broken list")
	}
	if b.path() != path || !blocks(t, b, "one.example") || blocks(t, b, "new.example") {
		t.Error("an error has changed what is in force")
	}
	if text, err := os.ReadFile(names); err != nil || string(text) != one+"\n" {
		t.Errorf("%s is %q, %v", names, text, err)
	}
	if b.trouble() != nil || b.unread() == nil || b.describe().Problem == "" {
		t.Errorf("trouble %v, unread %v; want the last good lists in force, and the problem told", b.trouble(), b.unread())
	}

	// A daemon that finds other lists named than it kept reads them; if it
	// cannot, it keeps those.
	two := d.path("two")
	d.write("config/blocklists", one+"\n"+two+"\n")
	next := d.lists()
	if err := next.load(); err == nil || next.trouble() != nil || !blocks(t, next, "one.example") {
		t.Errorf("load: %v, trouble %v", err, next.trouble())
	}
	d.write("one", "new.example\n")
	next = d.loaded()
	if !blocks(t, next, "two.example") || !blocks(t, next, "new.example") || blocks(t, next, "one.example") {
		t.Error("load did not read the lists")
	}

	// What was kept is damaged: the lists are read.
	db := d.path("state/blocklist.db")
	data, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 1
	d.write("state/blocklist.db", string(data))
	if next = d.loaded(); !blocks(t, next, "two.example") {
		t.Error("load took a damaged file")
	}

	// Nothing at all is in force: nothing may be started.
	if err := errors.Join(os.Remove(db), os.Remove(one)); err != nil {
		t.Fatal(err)
	}
	next = d.lists()
	if err := next.load(); err == nil || next.trouble() == nil {
		t.Error("a daemon that has no good lists must start nothing")
	}
	if err := next.drop(one); err != nil || next.trouble() != nil || !blocks(t, next, "two.example") {
		t.Errorf("removal of the broken one: %v, trouble %v", err, next.trouble())
	}
}

// TestBlocklistsLeaveOthersEdits: what somebody else wrote is neither taken
// nor overwritten, before it is asked for.
func TestBlocklistsLeaveOthersEdits(t *testing.T) {
	d := newListDir(t)
	b := d.loaded()
	one, two := d.write("one", "one.example\n"), d.write("two", "two.example\n")
	if err := b.add(one); err != nil {
		t.Fatal(err)
	}
	names := d.path("config/blocklists")
	d.write("config/blocklists", "# none any more\n")
	for _, change := range []func(...string) error{b.add, b.drop} {
		if err := change(one); !errors.Is(err, errChanged) {
			t.Errorf("got %v, want errChanged", err)
		}
	}
	if !blocks(t, b, "one.example") {
		t.Error("an edit on disk took effect")
	}
	d.write("config/blocklists", "# by hand\n\n"+one+"  ")
	if err := b.update(); err != nil {
		t.Fatal(err)
	}
	if err := b.add(two); err != nil {
		t.Fatal(err)
	}
	if err := b.drop(one); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(names); string(text) != "# by hand\n\n"+two+"\n" {
		t.Errorf("the file is %q", text)
	}
	for _, text := range []string{"lists/ads\n", one + "\n" + one + "\n"} {
		d.write("config/blocklists", text)
		if err := b.update(); err == nil || !strings.HasPrefix(err.Error(), names+":") {
			t.Errorf("%q: got %v, want an error with the line", text, err)
		}
	}
	for _, bad := range []string{"", "relative", "/with\nbreak", "/space "} {
		if err := checkNamed(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// TestBlocklistsAtOnce: lists change while others use them.
func TestBlocklistsAtOnce(t *testing.T) {
	d := newListDir(t)
	b := d.loaded()
	one := d.write("one", "one.example\n")
	if err := b.add(one); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	seen := make(map[string]bool)
	for range 2 {
		wg.Go(func() {
			for range 20 {
				if !blocks(t, b, "one.example") {
					t.Error("not blocked in between")
				}
				b.describe()
			}
		})
	}
	for range 20 {
		seen[b.path()] = true
		if err := b.update(); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if len(seen) != 20 {
		t.Errorf("%d paths of 20 lists", len(seen))
	}
}

// TestBlocklistRefusedToSupervisors: they speak for programs in jails.
func TestBlocklistRefusedToSupervisors(t *testing.T) {
	s := &server{lists: newListDir(t).lists()}
	for _, op := range []string{api.OpBlocklistAdd, api.OpBlocklistRemove, api.OpBlocklistUpdate, api.OpBlocklistList, api.OpBlocklistTest} {
		_, err := s.handle(t.Context(), nil, peer{supervisor: true}, &api.Message{Op: op})
		if e, ok := errors.AsType[*api.Error](err); !ok || e.Code != api.CodeRefused {
			t.Errorf("%s: got %v, want %s", op, err, api.CodeRefused)
		}
	}
}
