// Package origin finds out where an executable comes from: which package of
// the distribution owns it, and which desktop entry speaks of it.
//
//	f := origin.New(origin.Config{})
//	select {
//	case q.About = <-f.Find(ctx, q.Exe, q.PID, app):
//	case <-time.After(patience): // do without
//	}
//
// It is for people to read. It decides nothing, and proves nothing: a desktop
// entry may be the work of the program that it speaks of.
package origin

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/netjail/netjail/notifier"
)

const (
	// limit bounds one search.
	limit = 5 * time.Second

	// maxSearches bounds how many run at once. A file system that does not
	// answer, which can be a program's own, holds up that many at most.
	maxSearches = 4

	// maxKept bounds how many results are kept.
	maxKept = 512

	// keep is how long a result is taken to hold.
	keep = time.Minute
)

// Config says where to look. Zero fields mean the usual places.
type Config struct {
	Home     string   // of the user
	DpkgInfo string   // the directory of dpkg's lists of files
	Rpm      string   // the rpm program
	DataDirs []string // that have desktop entries in applications/, the most trusted first
}

// Finder finds out about executables, and remembers. It is safe for concurrent
// use.
type Finder struct {
	cfg     Config
	running chan struct{} // holds a token for each search

	mu   sync.Mutex
	kept map[file]result
}

// file is an executable as it was once.
type file struct {
	path     string
	dev, ino uint64
	changed  time.Time
	asApp    bool // looked for among desktop entries
}

type result struct {
	about notifier.About
	until time.Time
}

// New returns a Finder. It reads nothing yet.
func New(cfg Config) *Finder {
	if cfg.Home == "" {
		cfg.Home, _ = os.UserHomeDir()
	}
	if cfg.DpkgInfo == "" {
		cfg.DpkgInfo = "/var/lib/dpkg/info"
	}
	if cfg.Rpm == "" {
		cfg.Rpm = "/usr/bin/rpm"
	}
	if cfg.DataDirs == nil {
		cfg.DataDirs = dataDirs(cfg.Home)
	}
	return &Finder{cfg: cfg, running: make(chan struct{}, maxSearches), kept: make(map[file]result)}
}

// Find finds out about the executable at path exe that process pid runs, and
// about the app that was started from the path app. What it finds comes
// through the channel, unless ctx ends before. It may take seconds; the
// goroutine that looks touches nothing else and need not be waited for.
func (f *Finder) Find(ctx context.Context, exe string, pid int, app string) <-chan notifier.About {
	found := make(chan notifier.About, 1)
	go func() {
		select {
		case f.running <- struct{}{}:
		case <-ctx.Done():
			return
		}
		defer func() { <-f.running }()
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		about := f.app(app)
		about.Package, about.Origin = f.owner(ctx, exe, pid)
		found <- about
	}()
	return found
}

// owner says where the executable is from that a process runs. What has its
// path may be another file: it was replaced, or the process has mounts of its
// own.
func (f *Finder) owner(ctx context.Context, exe string, pid int) (pkg string, from notifier.Origin) {
	if !filepath.IsAbs(exe) || pid <= 0 {
		return "", ""
	}
	running, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/exe")
	if err != nil {
		return "", ""
	}
	at, err := os.Stat(exe)
	if err != nil || !os.SameFile(running, at) {
		return "", notifier.Replaced
	}
	id := identity(exe, at)
	if r, ok := f.recall(id); ok {
		return r.Package, r.Origin
	}
	if f.atHome(exe) {
		return "", notifier.FromHome
	}
	pkg, known := f.packageOf(ctx, exe)
	switch {
	case !known:
		return "", ""
	case pkg == "":
		from = notifier.FromNone
	default:
		from = notifier.FromPackage
	}
	f.remember(id, notifier.About{Package: pkg, Origin: from})
	return pkg, from
}

// app says what the desktop entry of an executable says.
func (f *Finder) app(path string) notifier.About {
	if !filepath.IsAbs(path) {
		return notifier.About{}
	}
	at, err := os.Stat(path)
	if err != nil {
		return notifier.About{}
	}
	id := identity(path, at)
	id.asApp = true
	if r, ok := f.recall(id); ok {
		return r
	}
	about := entryOf(f.cfg.DataDirs, at)
	f.remember(id, about)
	return about
}

func (f *Finder) atHome(path string) bool {
	home, err := filepath.EvalSymlinks(f.cfg.Home)
	return err == nil && home != "/" && strings.HasPrefix(path, home+"/")
}

func identity(path string, info fs.FileInfo) file {
	id := file{path: path, changed: info.ModTime()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		id.dev, id.ino = st.Dev, st.Ino
	}
	return id
}

func (f *Finder) recall(id file) (notifier.About, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.kept[id]
	return r.about, ok && time.Now().Before(r.until)
}

func (f *Finder) remember(id file, about notifier.About) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.kept) >= maxKept {
		clear(f.kept)
	}
	f.kept[id] = result{about, time.Now().Add(keep)}
}
