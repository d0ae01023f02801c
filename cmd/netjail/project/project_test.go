package project

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const text = `# what the build needs
[[rule]]
allow = "example.org:443"

[[rule]]
deny = "telemetry.example"

[[rule]]
ask = "@internet"
`

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// verdicts returns "verdict destination line" of each rule that holds.
func verdicts(f *File, trusted bool) string {
	var list []string
	for _, r := range f.Rules(trusted) {
		list = append(list, r.Verdict.String()+" "+r.Dest.String()+" "+filepath.Base(r.Source.File)+" "+r.By)
	}
	return strings.Join(list, ", ")
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b")
	write(t, filepath.Join(deep, "x"), "")
	if f, err := Find(deep); f != nil || err != nil {
		t.Fatalf("none: got %+v, %v", f, err)
	}
	write(t, filepath.Join(dir, Name), text)
	f, err := Find(deep)
	if err != nil || f == nil || f.Path != filepath.Join(dir, Name) {
		t.Fatalf("above: got %+v, %v", f, err)
	}
	if got, want := verdicts(f, false), "deny telemetry.example .netjail.toml project"; got != want {
		t.Errorf("not trusted: got %q, want %q", got, want)
	}
	if got := verdicts(f, true); strings.Count(got, ",") != 2 || !strings.Contains(got, "allow example.org:443") {
		t.Errorf("trusted: got %q", got)
	}
	if n := len(f.Widens()); n != 2 {
		t.Errorf("widens by %d rules, want 2", n)
	}
	write(t, filepath.Join(dir, "a", Name), "[[rule]]\nallow = \"nonsense!\"\n")
	if _, err := Find(deep); err == nil || !strings.Contains(err.Error(), "a/.netjail.toml:2: ") {
		t.Errorf("a broken one: got %v", err)
	}
	os.Remove(filepath.Join(dir, "a", Name))
	if err := syscall.Mkfifo(filepath.Join(dir, "a", Name), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Find(deep); err == nil || !strings.Contains(err.Error(), "is no file") {
		t.Errorf("a FIFO: got %v", err)
	}
	os.Remove(filepath.Join(dir, "a", Name))
	if os.Getuid() == 0 {
		write(t, filepath.Join(dir, "a", Name), "[[rule]]\ndeny = \"@any\"\n")
		if err := os.Chown(filepath.Join(dir, "a", Name), 65534, 65534); err != nil {
			t.Fatal(err)
		}
		if f, err := Find(deep); err != nil || f.Path != filepath.Join(dir, Name) {
			t.Errorf("somebody else's: got %+v, %v", f, err)
		}
	}
}

func TestTrust(t *testing.T) {
	dir, state := t.TempDir(), filepath.Join(t.TempDir(), "state")
	name := filepath.Join(dir, Name)
	write(t, name, text)
	look := func() State {
		t.Helper()
		f, err := Read(name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Look(state, f)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if got := look(); got != Unknown {
		t.Errorf("first: %v", got)
	}
	f, err := Read(name)
	if err != nil {
		t.Fatal(err)
	}
	// What is trusted is what was read and shown, not what is there by now.
	write(t, name, text+"\n[[rule]]\nallow = \"@any\"\n")
	if err := Trust(state, f); err != nil {
		t.Fatal(err)
	}
	if got := look(); got != Changed {
		t.Errorf("changed since it was shown: %v", got)
	}
	write(t, name, text)
	if got := look(); got != Trusted {
		t.Errorf("trusted: %v", got)
	}
	if fi, err := os.Stat(filepath.Join(state, trustFile)); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode: %v, %v", fi, err)
	}
	if known, err := Distrust(state, name); !known || err != nil || look() != Unknown {
		t.Errorf("distrusted: %v, %v", known, err)
	}
	if known, err := Distrust(state, name); known || err != nil {
		t.Errorf("again: %v, %v", known, err)
	}
	write(t, filepath.Join(state, trustFile), "{")
	if s, err := Look(state, f); s != Unknown || err == nil {
		t.Errorf("a broken list: %v, %v", s, err)
	}
	if err := Trust(state, f); err == nil {
		t.Error("a broken list was overwritten")
	}
}
