package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules/blocklist"
)

// blocklists holds the lists in force: those of the files as they were when
// they were last read.
//
// Supervisors map what the daemon holds in sealed memory, so that there is one
// copy of it. A file would do as well, but for the programs in the jails: they
// can write to the user's files, and emptying this one would take effect at
// once, in every jail. What was compiled is also kept in a file, for the next
// daemon: to read the lists anew is for the user to say.
type blocklists struct {
	names    string // the file that names the lists
	compiled string // the file that keeps what was compiled

	inForce atomic.Pointer[compiledList] // nil: nothing is blocked
	loaded  atomic.Bool                  // what was named has been in force
	problem atomic.Pointer[error]        // why the lists on disk are not

	mu    sync.Mutex // held while lists are read, too
	files []string   // the lists, as the user named them
	text  []byte     // of the file names, when it was read or written
	next  int        // descriptor for the next memory
}

// compiledList is a list in sealed memory. It never changes.
type compiledList struct {
	memory *os.File
	list   *blocklist.List
}

func newBlocklists(names, compiled string) *blocklists {
	return &blocklists{names: names, compiled: compiled}
}

// load puts the lists in force that the last daemon had read, if they are those
// that are named now, and reads them otherwise. Where they cannot be read, what
// was read before stays.
func (b *blocklists) load() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	files, text, err := readNames(b.names)
	if err == nil {
		b.files, b.text = files, text
		if len(files) == 0 {
			return b.note(nil)
		}
	}
	kept, keptErr := b.loadCompiledLocked()
	if keptErr == nil {
		b.swap(kept)
		b.loaded.Store(true)
		if err == nil && slices.EqualFunc(kept.list.Sources(), files, isSource) {
			return b.note(nil)
		}
	}
	if err == nil {
		err = b.takeLocked(files)
	}
	return b.note(err)
}

func isSource(s blocklist.Source, file string) bool { return s.File == file }

// note keeps why the lists on disk are not in force.
func (b *blocklists) note(err error) error {
	b.problem.Store(&err)
	if err == nil {
		b.loaded.Store(true)
	}
	return err
}

// unread returns why the lists on disk are not in force, or nil.
func (b *blocklists) unread() error {
	if p := b.problem.Load(); p != nil {
		return *p
	}
	return nil
}

// trouble returns why no lists are in force although some are named, or nil.
// Nothing may be started then: a name in the list that cannot be read may be
// one not to be talked to.
func (b *blocklists) trouble() error {
	if b.loaded.Load() {
		return nil
	}
	return b.unread()
}

// path returns what supervisors open, "" if nothing is blocked.
func (b *blocklists) path() string {
	if c := b.inForce.Load(); c != nil {
		return c.path()
	}
	return ""
}

// path is how other processes of the user open the memory. It leads there for
// as long as the daemon holds the list.
func (c *compiledList) path() string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), c.memory.Fd())
}

// close gives the memory up; who has mapped it keeps it. A nil list has none.
func (c *compiledList) close() {
	if c != nil {
		c.memory.Close()
	}
}

// update reads the file that names the lists, and all of them.
func (b *blocklists) update() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	files, text, err := readNames(b.names)
	if err != nil {
		return b.note(err)
	}
	b.files, b.text = files, text
	return b.note(b.takeLocked(files))
}

// takeLocked reads the lists and puts them in force.
func (b *blocklists) takeLocked(files []string) error {
	c, err := b.compileLocked(files)
	if err != nil {
		return err
	}
	b.swap(c)
	return nil
}

// change names other lists, and reads all of them. On an error all stays as it
// is.
func (b *blocklists) change(edit func(text []byte, files []string) ([]byte, error)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	onDisk, err := os.ReadFile(b.names)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("blocklists: %w", err)
	}
	if !bytes.Equal(onDisk, b.text) {
		return fmt.Errorf("blocklists: %s: %w", b.names, errChanged)
	}
	text, err := edit(b.text, b.files)
	if err != nil {
		return err
	}
	files, err := parseNames(b.names, text)
	if err != nil {
		return err
	}
	// The names are written last: a list that cannot be read must not be
	// among them, or no daemon could start a jail any more.
	c, err := b.compileLocked(files)
	if err != nil {
		return err
	}
	if err := writeFile(b.names, text); err != nil {
		c.close()
		return err
	}
	b.swap(c)
	b.files, b.text = files, text
	return b.note(nil)
}

// compileLocked reads the lists, and keeps what comes of them for the next
// daemon. It returns nil for none.
func (b *blocklists) compileLocked(files []string) (*compiledList, error) {
	if len(files) == 0 {
		if err := os.Remove(b.compiled); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("forget blocklists: %w", err)
		}
		return nil, nil
	}
	// A million names leave a lot behind, and the daemon waits for days.
	defer debug.FreeOSMemory()
	var builder blocklist.Builder
	for _, file := range files {
		if err := builder.Add(file); err != nil {
			return nil, err
		}
	}
	image := builder.Build()
	c, err := b.sealLocked(image)
	if err != nil {
		return nil, err
	}
	if err = os.MkdirAll(filepath.Dir(b.compiled), 0o700); err == nil {
		err = image.Save(b.compiled)
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("keep blocklists: %w", err)
	}
	return c, nil
}

// loadCompiledLocked returns what the last daemon kept.
func (b *blocklists) loadCompiledLocked() (*compiledList, error) {
	f, err := os.Open(b.compiled)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c, err := b.sealLocked(f)
	if err != nil {
		return nil, err
	}
	if err := c.list.Verify(); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// retireAfter is how long the list before stays open: a supervisor may have
// been told of it, and not of the next one yet.
const retireAfter = 10 * time.Second

func (b *blocklists) swap(c *compiledList) {
	if old := b.inForce.Swap(c); old != nil {
		time.AfterFunc(retireAfter, old.close)
	}
}

// Descriptors of the memory, one after the other, so that a new list does not
// have the path of one before it.
const (
	firstMemory = 200
	lastMemory  = 1000
)

// sealLocked copies a compiled list to memory that nobody can change.
func (b *blocklists) sealLocked(from io.WriterTo) (*compiledList, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("netjail-blocklist", flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate("netjail-blocklist", flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	low := os.NewFile(uintptr(fd), "blocklist")
	defer low.Close()
	if _, err := from.WriteTo(low); err != nil {
		return nil, fmt.Errorf("blocklist: %w", err)
	}
	const seals = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(low.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return nil, os.NewSyscallError("fcntl(F_ADD_SEALS)", err)
	}
	if b.next < firstMemory || b.next >= lastMemory {
		b.next = firstMemory
	}
	high, err := unix.FcntlInt(low.Fd(), unix.F_DUPFD_CLOEXEC, b.next)
	if err != nil {
		return nil, os.NewSyscallError("fcntl(F_DUPFD_CLOEXEC)", err)
	}
	b.next = high + 1
	c := &compiledList{memory: os.NewFile(uintptr(high), "blocklist")}
	if c.list, err = blocklist.Open(c.path()); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// readNames reads the file that names lists. None is a file without any.
func readNames(path string) (files []string, text []byte, err error) {
	text, err = os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("blocklists: %w", err)
	}
	files, err = parseNames(path, text)
	return files, text, err
}

// parseNames takes one absolute path from each line that is not empty and no
// remark.
func parseNames(path string, text []byte) ([]string, error) {
	var files []string
	line := 0
	for s := range strings.Lines(string(text)) {
		line++
		s = strings.TrimSpace(s)
		switch {
		case s == "" || s[0] == '#':
		case !filepath.IsAbs(s):
			return nil, &blocklist.Error{File: path, Line: line, Err: fmt.Errorf("%q is not an absolute path", s)}
		case slices.Contains(files, s):
			return nil, &blocklist.Error{File: path, Line: line, Err: fmt.Errorf("%s for the second time", s)}
		default:
			files = append(files, s)
		}
	}
	return files, nil
}

// writeFile replaces a file: whoever reads meanwhile, or after a crash, sees
// the old text or the new one.
func writeFile(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("blocklists: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".blocklists.*")
	if err != nil {
		return fmt.Errorf("blocklists: %w", err)
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("blocklists: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// checkNamed says whether a path can stand in the file that names lists.
func checkNamed(path string) error {
	if !filepath.IsAbs(path) || strings.TrimSpace(path) != path || strings.ContainsAny(path, "\n\r") {
		return invalid(fmt.Errorf("%q: a list has an absolute path, without a line break or spaces around it", path))
	}
	return nil
}

// withNames appends lists that are not there yet.
func withNames(text []byte, files, add []string) ([]byte, error) {
	text = slices.Clone(text)
	if n := len(text); n > 0 && text[n-1] != '\n' {
		text = append(text, '\n')
	}
	files = slices.Clone(files)
	for _, file := range add {
		if err := checkNamed(file); err != nil {
			return nil, err
		}
		if !slices.Contains(files, file) {
			files = append(files, file)
			text = append(append(text, file...), '\n')
		}
	}
	return text, nil
}

// withoutNames removes lists, and leaves remarks and all other lines alone.
func withoutNames(text []byte, files, remove []string) ([]byte, error) {
	for _, file := range remove {
		if !slices.Contains(files, file) {
			return nil, &api.Error{Text: "no blocklist " + file, Hint: "netjail blocklist list", Code: api.CodeNotFound}
		}
	}
	var kept []byte
	for line := range bytes.Lines(text) {
		if !slices.Contains(remove, string(bytes.TrimSpace(line))) {
			kept = append(kept, line...)
		}
	}
	return kept, nil
}
