package journal

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const sumOfX = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"

func TestFile(t *testing.T) {
	want := map[key]entry{
		{"curl", "/usr/bin/curl"}:       {stamp{1, 2, 3, 4, 5}, sumOfX, allowedAt},
		{"npm", "/usr/bin/curl"}:        {stamp{1, 2, 3, 4, 0}, sumOfX, allowedAt.Add(time.Hour)},
		{"huge", "/opt/\u00e4 \"x\"\n"}: {stamp{1 << 63, 1 << 63, maxSize + 1, -1, 5}, "", allowedAt},
	}
	name := filepath.Join(t.TempDir(), "state", "executables.json")
	for range 2 { // a new file, and another one in its place
		if err := New(name, nil).save(want); err != nil {
			t.Fatal(err)
		}
	}
	got, err := readFile(name)
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode: got %v, %v, want 0600", info.Mode(), err)
	}
	if files, err := os.ReadDir(filepath.Dir(name)); len(files) != 1 || err != nil {
		t.Errorf("files: got %v, %v, want one", files, err)
	}
}

// TestFull drops the oldest entry.
func TestFull(t *testing.T) {
	j := New(filepath.Join(t.TempDir(), "executables.json"), nil)
	path := func(i int) string { return "/" + strings.Repeat("\x01", maxPath-8) + fmt.Sprint(i) }
	for i := range maxEntries {
		j.put(key{"app", path(i)}, entry{sum: sumOfX, allowed: allowedAt.Add(time.Duration(i%7) * time.Second)})
	}
	j.put(key{"app", path(0)}, entry{sum: sumOfX, allowed: allowedAt.Add(time.Hour)}) // in its own place
	if len(j.entries) != maxEntries {
		t.Errorf("%d entries, want %d", len(j.entries), maxEntries)
	}
	j.put(key{"app", "/new"}, entry{sum: sumOfX, allowed: allowedAt.Add(time.Hour)})
	oldest := 0
	for _, e := range j.entries {
		if e.allowed.Equal(allowedAt) {
			oldest++
		}
	}
	if want := maxEntries/7 - 1; len(j.entries) != maxEntries || oldest != want {
		t.Errorf("%d entries, %d of them oldest, want %d and %d", len(j.entries), oldest, maxEntries, want)
	}
	if err := j.save(j.entries); err != nil {
		t.Fatal(err)
	}
	if got, err := readFile(j.file); err != nil || !maps.Equal(got, j.entries) {
		t.Errorf("a full journal with long paths: read %d entries, %v", len(got), err)
	}
}

func TestBroken(t *testing.T) {
	line := func(s string) string {
		return `{"version":1,"executables":[{"app":"a","path":"/a","allowed":"2026-11-03T12:00:00Z","sha256":"` + sumOfX + `"},` + s + `]}`
	}
	cases := []struct {
		name, text string
		entries    int // -1: broken
	}{
		{"good", line(`{"app":"b","path":"/b","allowed":"2026-11-03T12:00:00Z","later":1}`), 2},
		{"one twice", line(`{"app":"a","path":"/a","allowed":"2026-11-03T12:00:00Z"}`), 1},
		{"none", `{"version":1,"executables":[]}`, 0},
		{"empty", "", -1},
		{"cut off", line("")[:100], -1},
		{"version", `{"version":2,"executables":[]}`, -1},
		{"no version", `{}`, -1},
		{"no path", line(`{"app":"b","allowed":"2026-11-03T12:00:00Z"}`), -1},
		{"no time", line(`{"app":"b","path":"/b"}`), -1},
		{"sum", line(`{"app":"b","path":"/b","allowed":"2026-11-03T12:00:00Z","sha256":"abc"}`), -1},
		{"short sum", line(`{"app":"b","path":"/b","allowed":"2026-11-03T12:00:00Z","sha256":"abcd"}`), -1},
		{"too long", line(`{"app":"b","path":"/b","allowed":"2026-11-03T12:00:00Z"}`) + strings.Repeat(" ", maxFile), -1},
	}
	for _, c := range cases {
		name := filepath.Join(t.TempDir(), "executables.json")
		if err := os.WriteFile(name, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		j := New(name, slog.New(slog.NewTextHandler(&log, nil)))
		j.read()
		if got := len(j.entries); got != max(0, c.entries) {
			t.Errorf("%s: %d entries, want %d", c.name, got, c.entries)
		}
		aside, err := os.ReadFile(name + ".broken")
		if broken := err == nil; broken != (c.entries < 0) || broken && string(aside) != c.text {
			t.Errorf("%s: set aside: %v, want %v", c.name, broken, c.entries < 0)
		}
		if warned := strings.Contains(log.String(), "new journal"); warned != (c.entries < 0) {
			t.Errorf("%s: log %q", c.name, log.String())
		}
		k := key{"new", "/new"}
		if err := j.save(j.put(k, entry{sum: sumOfX, allowed: allowedAt})); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if got, err := readFile(name); err != nil || got[k].sum != sumOfX {
			t.Errorf("%s: afterwards got %v, %v", c.name, got, err)
		}
	}
}

// TestNotAFile has a pipe where the file would be: it is not waited for.
func TestNotAFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "executables.json")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	j := New(name, nil)
	j.read()
	if _, err := os.Lstat(name + ".broken"); err != nil {
		t.Error(err)
	}
}

func TestClose(t *testing.T) {
	name := filepath.Join(t.TempDir(), "executables.json")
	j := New(name, nil)
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	was, err := stampOf(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, closed := range []bool{false, true} {
		if closed {
			j.Close()
			if err := os.Remove(name); err != nil { // it was written while the journal was open
				t.Fatal(err)
			}
		}
		if err := j.record(key{"app", "/x"}, f, was, allowedAt); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(name); !os.IsNotExist(err) {
		t.Errorf("written after Close: %v", err)
	}
}
