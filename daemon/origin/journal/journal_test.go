package journal

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var allowedAt = time.Date(2026, 11, 3, 12, 0, 0, 0, time.UTC)

// program copies a program to a path, in place of what is there.
func program(t *testing.T, path string) {
	t.Helper()
	from, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", text, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// running runs a program, and returns its pid and what ends it.
func running(t *testing.T, path string) (pid int, end func()) {
	t.Helper()
	cmd := exec.Command(path, "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() { cmd.Process.Kill(); cmd.Wait() }
	t.Cleanup(end)
	return cmd.Process.Pid, end
}

// look runs the program at a path and looks at it, as if for a question.
func look(t *testing.T, j *Journal, app, path string) Finding {
	t.Helper()
	pid, end := running(t, path)
	defer end()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	return <-j.Look(ctx, app, path, pid).Found
}

// allow has a person allow something to the program at a path, and waits until
// that is on disk.
func allow(t *testing.T, j *Journal, app, path string, at time.Time) Finding {
	t.Helper()
	pid, end := running(t, path)
	defer end()
	ctx, cancel := context.WithCancel(t.Context())
	l := j.Look(ctx, app, path, pid)
	found := <-l.Found
	l.Allowed(at)
	end() // what it was is known, even if it does not live to be allowed
	cancel()
	k := key{app, path}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		entries, err := readFile(j.file)
		if err != nil {
			t.Fatal(err)
		}
		if entries[k].allowed.Equal(at) {
			return found
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not remembered in %s", path, j.file)
		}
	}
}

func newJournal(t *testing.T) (j *Journal, dir string) {
	t.Helper()
	dir = t.TempDir()
	j = New(filepath.Join(dir, "state", "executables.json"), nil)
	t.Cleanup(j.Close)
	return j, dir
}

// TestLook allows something to a program, changes it in one way or another, and
// looks again: in the same daemon, and in the next one.
func TestLook(t *testing.T) {
	cases := []struct {
		name   string
		change func(t *testing.T, path string)
		want   State
	}{
		{"untouched", func(*testing.T, string) {}, Same},
		{"touched", func(t *testing.T, path string) {
			if err := os.Chtimes(path, time.Now(), time.Unix(1e9, 0)); err != nil {
				t.Fatal(err)
			}
		}, Same},
		{"replaced by the same", program, Same},
		{"replaced", func(t *testing.T, path string) {
			program(t, path+"2")
			extend(t, path+"2")
			if err := os.Rename(path+"2", path); err != nil {
				t.Fatal(err)
			}
		}, Changed},
		{"appended to", extend, Changed},
		{"another byte, same size and mtime", func(t *testing.T, path string) {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			flip(t, path)
			if err := os.Chtimes(path, time.Time{}, info.ModTime()); err != nil {
				t.Fatal(err)
			}
		}, Changed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			j, dir := newJournal(t)
			path := filepath.Join(dir, "sleep")
			program(t, path)
			if got := look(t, j, "app", path); got != (Finding{}) {
				t.Errorf("before: got %+v, want nothing", got)
			}
			allow(t, j, "app", path, allowedAt)
			want := Finding{Same, allowedAt}
			if got := look(t, j, "app", path); got != want {
				t.Errorf("allowed: got %+v, want %+v", got, want)
			}
			c.change(t, path)
			want.State = c.want
			for when, j := range map[string]*Journal{"changed": j, "the next daemon": New(j.file, nil)} {
				if got := look(t, j, "app", path); got != want {
					t.Errorf("%s: got %+v, want %+v", when, got, want)
				}
				if got := look(t, j, "other", path); got != (Finding{}) {
					t.Errorf("%s, another app: got %+v, want nothing", when, got)
				}
			}
			later := allowedAt.Add(time.Hour)
			if got := allow(t, j, "app", path, later); got != want {
				t.Errorf("once more: got %+v, want %+v", got, want)
			}
			want = Finding{Same, later}
			if got := look(t, j, "app", path); got != want {
				t.Errorf("allowed once more: got %+v, want %+v", got, want)
			}
			if len(j.entries) != 1 {
				t.Errorf("%d entries, want 1", len(j.entries))
			}
		})
	}
}

func extend(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("x"); err != nil {
		t.Fatal(err)
	}
}

// flip changes a byte of the padding in an ELF header.
func flip(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{1}, 15); err != nil {
		t.Fatal(err)
	}
}

// TestRemoved asks for a process that runs what its path does not have any more.
func TestRemoved(t *testing.T) {
	j, dir := newJournal(t)
	path := filepath.Join(dir, "sleep")
	program(t, path)
	old, _ := running(t, path)
	allow(t, j, "app", path, allowedAt)
	program(t, path)
	extend(t, path)
	for _, c := range []struct {
		name string
		want State
		pid  int
		exe  string
	}{
		{"the old one", Same, old, path + " (deleted)"},
		{"the new one", Changed, func() int { pid, _ := running(t, path); return pid }(), path},
	} {
		want := Finding{c.want, allowedAt}
		if got := <-j.Look(t.Context(), "app", c.exe, c.pid).Found; got != want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, want)
		}
	}
}

// TestTouchedMeanwhile has an executable change while its question is open: it
// is not what was allowed.
func TestTouchedMeanwhile(t *testing.T) {
	j, dir := newJournal(t)
	path := filepath.Join(dir, "sleep")
	program(t, path)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	was, err := stampOf(f)
	if err != nil {
		t.Fatal(err)
	}
	flip(t, path)
	if err := os.Chtimes(path, time.Time{}, time.Unix(1e9, 0)); err != nil {
		t.Fatal(err)
	}
	k := key{"app", path}
	if err := j.record(k, f, was, allowedAt); err != nil || len(j.entries) != 0 {
		t.Errorf("changed: got %v, %v, want nothing", j.entries, err)
	}
	if was, err = stampOf(f); err != nil {
		t.Fatal(err)
	}
	if err := j.record(k, f, was, allowedAt); err != nil || len(j.entries) != 1 {
		t.Errorf("as it is now: got %v, %v, want an entry", j.entries, err)
	}
}

// TestRecent: an executable that has just been made is remembered without its
// ctime, which the next change may not set to another one.
func TestRecent(t *testing.T) {
	j, dir := newJournal(t)
	recent := filepath.Join(dir, "sleep")
	program(t, recent)
	old, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{recent: false, old: true} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		was, err := stampOf(f)
		if err != nil {
			t.Fatal(err)
		}
		k := key{"app", path}
		if err := j.record(k, f, was, allowedAt); err != nil {
			t.Fatal(err)
		}
		if got := j.entries[k].stamp == was; got != want {
			t.Errorf("%s: entry with the ctime: %v, want %v", path, got, want)
		}
		if _, got := j.sums[was]; got != want {
			t.Errorf("%s: content taken for granted: %v, want %v", path, got, want)
		}
	}
}

// TestNotRead has entries that say another content than the file has: what was
// found shows whether it was read.
func TestNotRead(t *testing.T) {
	j, dir := newJournal(t)
	path := filepath.Join(dir, "sleep")
	program(t, path)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	now, err := stampOf(f)
	if err != nil {
		t.Fatal(err)
	}
	k := key{"app", path}
	wrong := strings.Repeat("00", 32)
	for _, c := range []struct {
		name string
		edit func(*entry)
		want State
	}{
		{"the same stamp", func(*entry) {}, Same},
		{"another ctime", func(e *entry) { e.ctime-- }, Changed},
		{"another inode", func(e *entry) { e.ino++ }, Changed},
		{"another size", func(e *entry) { e.size++ }, Changed},
		{"another size, too large to be read", func(e *entry) { e.size, e.sum = maxSize+1, "" }, Changed},
		{"same size, never read", func(e *entry) { e.mtime, e.sum = 0, "" }, Unknown},
	} {
		e := entry{now, wrong, allowedAt}
		c.edit(&e)
		j.entries[k] = e
		if got := j.compare(t.Context(), k, f, now); got.State != c.want {
			t.Errorf("%s: got %+v, want %v", c.name, got, c.want)
		}
	}
}

func TestSettled(t *testing.T) {
	changed := time.Unix(1e9, 5)
	s := stamp{ctime: changed.UnixNano()}
	for after, want := range map[time.Duration]bool{-time.Hour: false, 0: false, settle: false, settle + 1: true} {
		if got := s.settled(changed.Add(after)); got != want {
			t.Errorf("%v after the change: got %v, want %v", after, got, want)
		}
	}
}

// TestNobody looks at what is not there.
func TestNobody(t *testing.T) {
	j, dir := newJournal(t)
	path := filepath.Join(dir, "sleep")
	program(t, path)
	pid, end := running(t, path)
	end()
	for _, c := range []struct {
		name, exe string
		pid       int
	}{
		{"gone", path, pid},
		{"no process", path, 0},
		{"not a path", "sleep", os.Getpid()},
		{"no path", "", os.Getpid()},
		{"a long path", "/" + strings.Repeat("x", maxPath), os.Getpid()},
	} {
		l := j.Look(t.Context(), "app", c.exe, c.pid)
		if got := <-l.Found; got != (Finding{}) {
			t.Errorf("%s: got %+v, want nothing", c.name, got)
		}
		l.Allowed(allowedAt)
		l.Allowed(allowedAt)
	}
	var none *Look
	none.Allowed(allowedAt)
	if len(j.entries) != 0 {
		t.Errorf("got entries %v, want none", j.entries)
	}
}

// TestBusy has all places taken by looks that do not end.
func TestBusy(t *testing.T) {
	j, _ := newJournal(t)
	for range maxLooks {
		j.places <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	l := j.Look(ctx, "app", "/proc/self/exe", os.Getpid())
	l.Allowed(allowedAt) // does not wait
	cancel()
	if got := <-l.Found; got != (Finding{}) {
		t.Errorf("got %+v, want nothing", got)
	}
}

func TestHash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-2
	for range 2 {                                                                  // from the beginning each time
		if got, err := hash(f, 3, time.Now().Add(time.Minute)); got != abc || err != nil {
			t.Errorf("got %s, %v, want %s", got, err, abc)
		}
	}
	if got, err := hash(f, 3, time.Now().Add(-1)); err == nil {
		t.Errorf("out of time: got %s", got)
	}
}

func BenchmarkHash(b *testing.B) {
	path := filepath.Join(b.TempDir(), "x")
	const size = 256 << 20
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		b.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	b.SetBytes(size)
	for b.Loop() {
		if _, err := hash(f, size, time.Now().Add(time.Hour)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSave(b *testing.B) {
	j := New(filepath.Join(b.TempDir(), "executables.json"), nil)
	for i := range maxEntries {
		j.entries[key{"app", fmt.Sprint("/usr/bin/", i)}] = entry{allowed: allowedAt, sum: strings.Repeat("00", 32)}
	}
	for b.Loop() {
		if err := j.save(j.entries); err != nil {
			b.Fatal(err)
		}
	}
}
