package rulefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/netjail/netjail/rules"
)

const simple = "[[rule]]\nallow = \"a.org\"\n"

// limitEnv makes the test binary save into the directory it names, under a
// file size limit, and exit. See TestSaveFull.
const limitEnv = "NETJAIL_TEST_SAVE_UNDER_LIMIT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(limitEnv); dir != "" {
		os.Exit(saveUnderLimit(dir))
	}
	os.Exit(m.Run())
}

// ruleDir makes a directory that Load accepts, with these files.
func ruleDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "netjail")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		write(t, filepath.Join(dir, name), text)
	}
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}

func TestLoad(t *testing.T) {
	dir := ruleDir(t, map[string]string{
		"firefox.toml": good, "@all.toml": simple, "README": "x", ".firefox.toml.abc": "half", "curl.toml": "",
	})
	if err := os.Symlink("nowhere", filepath.Join(dir, ".#firefox.toml")); err != nil {
		t.Fatal(err)
	}
	files, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range files {
		got = append(got, f.App()+"="+string(f.Bytes()))
	}
	want := []string{"=" + simple, "curl=", "firefox=" + good}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %q, want %q", got, want)
	}
	path := filepath.Join(dir, "firefox.toml")
	if src := files[2].Rules()[1].Source; src != (rules.Source{File: path, Line: 9}) {
		t.Errorf("got source %v, want %s:9", src, path)
	}
}

func TestLoadMissing(t *testing.T) {
	files, err := Load(filepath.Join(t.TempDir(), "none"))
	if err != nil || len(files) != 0 {
		t.Errorf("got %v, %v, want no files and no error", files, err)
	}
}

// Each case spoils one thing in a directory that loads.
func TestLoadErrors(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(dir string) error
		want  string // DIR stands for the directory
	}{
		{"bad rule", func(dir string) error {
			return os.WriteFile(dir+"/b.toml", []byte(simple+"[[rule]]\ndeny = \"*\"\n"), 0o600)
		}, "DIR/b.toml:4: "},
		{"half-written", func(dir string) error { return os.WriteFile(dir+"/b.toml", []byte(simple+"note = \"x"), 0o600) }, "DIR/b.toml:3: "},
		{"too large", func(dir string) error {
			return os.WriteFile(dir+"/b.toml", []byte(strings.Repeat("#\n", maxFile)), 0o600)
		}, "DIR/b.toml: larger than 4 MiB"},
		{"bad name", func(dir string) error { return os.WriteFile(dir+"/@lan.toml", nil, 0o600) }, "DIR/@lan.toml: app name"},
		{"no name", func(dir string) error { return os.WriteFile(dir+"/.toml", nil, 0o600) }, "DIR/.toml: app name is empty"},
		{"hidden", func(dir string) error { return os.WriteFile(dir+"/.x.toml", nil, 0o600) }, "DIR/.x.toml: app name"},
		{"file others may write", func(dir string) error { return os.Chmod(dir+"/a.toml", 0o602) }, "run chmod go-w DIR/a.toml"},
		{"file the group may write", func(dir string) error { return os.Chmod(dir+"/a.toml", 0o620) }, "run chmod go-w DIR/a.toml"},
		{"file is a link", func(dir string) error { return os.Symlink("a.toml", dir+"/b.toml") }, "DIR/b.toml: a symbolic link"},
		{"file is a directory", func(dir string) error { return os.Mkdir(dir+"/b.toml", 0o700) }, "DIR/b.toml: not a regular file"},
		{"file is a FIFO", func(dir string) error { return syscall.Mkfifo(dir+"/b.toml", 0o600) }, "DIR/b.toml: not a regular file"},
		{"directory others may write", func(dir string) error { return os.Chmod(dir, 0o777) }, "DIR: others may write to it: run chmod go-w DIR"},
		{"directory the group may write", func(dir string) error { return os.Chmod(dir, 0o770) }, "run chmod go-w DIR"},
		{"directory is a link", func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".real"), os.Symlink("netjail.real", dir))
		}, "DIR: a symbolic link"},
		{"directory is a link to nowhere", func(dir string) error {
			return errors.Join(os.RemoveAll(dir), os.Symlink("nowhere", dir))
		}, "DIR: "},
		{"directory is a file", func(dir string) error {
			return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600))
		}, "DIR: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := ruleDir(t, map[string]string{"a.toml": simple})
			if files, err := Load(dir); err != nil || len(files) != 1 {
				t.Fatalf("before: got %v, %v", files, err)
			}
			if err := tc.spoil(dir); err != nil {
				t.Fatal(err)
			}
			files, err := Load(dir)
			want := strings.ReplaceAll(tc.want, "DIR", dir)
			if err == nil || files != nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, %v, want no files and %q", files, err, want)
			}
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Errorf("got %T, want an *Error", err)
			}
		})
	}
}

func TestLoadNamesEveryBadFile(t *testing.T) {
	dir := ruleDir(t, map[string]string{"a.toml": "x", "b.toml": simple, "c.toml": "\ny"})
	_, err := Load(dir)
	if err == nil || !strings.Contains(err.Error(), "a.toml:1:") || !strings.Contains(err.Error(), "c.toml:2:") {
		t.Errorf("got %v, want both files", err)
	}
}

// fakeOwner is a file that belongs to somebody.
type fakeOwner struct {
	fs.FileInfo
	uid uint32
}

func (f fakeOwner) Sys() any          { return &syscall.Stat_t{Uid: f.uid} }
func (f fakeOwner) Mode() fs.FileMode { return 0o600 }

func TestCheckOwner(t *testing.T) {
	me := uint32(os.Geteuid())
	for _, uid := range []uint32{me, 0} {
		if err := checkOwner(fakeOwner{uid: uid}, "/f"); err != nil {
			t.Errorf("uid %d: %v", uid, err)
		}
	}
	err := checkOwner(fakeOwner{uid: me + 1}, "/f")
	if err == nil || !strings.Contains(err.Error(), "chown") {
		t.Errorf("somebody else: got %v, want an error", err)
	}
}

func TestSave(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "config", "netjail")
	for _, app := range []string{"curl", ""} {
		for _, text := range []string{simple, "", handWritten} {
			f := mustParse(t, app, text)
			if err := Save(dir, f); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, FileName(app))
			got, err := os.ReadFile(path)
			if err != nil || string(got) != text {
				t.Errorf("%s: got %q, %v, want %q", path, got, err, text)
			}
			if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
				t.Errorf("%s: got mode %v, %v, want 0600", path, info.Mode(), err)
			}
		}
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if info, err := os.Stat(d); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: got mode %v, %v, want 0700", d, info.Mode(), err)
		}
	}
	if got := names(t, dir); got != "@all.toml curl.toml" {
		t.Errorf("got files %q, want only the two", got)
	}
	if files, err := Load(dir); err != nil || len(files) != 2 {
		t.Errorf("Load: got %v, %v", files, err)
	}
}

// checkUntouched says that a failed Save left the directory as it was.
func checkUntouched(t *testing.T, dir string) {
	t.Helper()
	if got := names(t, dir); got != "curl.toml" {
		t.Errorf("got files %q, want only the old one", got)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "curl.toml")); err != nil || string(got) != simple {
		t.Errorf("got %q, %v, want the old text", got, err)
	}
}

func TestSaveUnsafeDir(t *testing.T) {
	f := mustParse(t, "curl", handWritten)
	dir := ruleDir(t, map[string]string{"curl.toml": simple})
	if err := os.Chmod(dir, 0o722); err != nil {
		t.Fatal(err)
	}
	if err := Save(dir, f); err == nil || !strings.Contains(err.Error(), "chmod go-w "+dir) {
		t.Errorf("others may write: got %v, want an error", err)
	}
	checkUntouched(t, dir)
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	link := dir + ".link"
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if err := Save(link, f); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("link: got %v, want an error", err)
	}
	checkUntouched(t, dir)
	if err := Save(filepath.Join(dir, "curl.toml"), f); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("a file in place of the directory: got %v, want ENOTDIR", err)
	}
	checkUntouched(t, dir)
	if err := Save(dir, f); err != nil {
		t.Errorf("control: %v", err)
	}
}

// A disk that fills up while the file is written: the limit makes write(2)
// stop after some bytes and then fail with EFBIG, for root too.
func TestSaveFull(t *testing.T) {
	dir := ruleDir(t, map[string]string{"curl.toml": simple})
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), limitEnv+"="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	checkUntouched(t, dir)
}

// saveUnderLimit returns 0 if Save fails as it should and 1 if it does not.
func saveUnderLimit(dir string) int {
	signal.Ignore(syscall.SIGXFSZ)
	f, err := Parse("curl.toml", "curl", []byte(handWritten))
	if err != nil {
		os.Stderr.WriteString(err.Error())
		return 1
	}
	limit := syscall.Rlimit{Cur: 64, Max: 64}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		os.Stderr.WriteString(err.Error())
		return 1
	}
	if err := Save(dir, f); !errors.Is(err, syscall.EFBIG) {
		fmt.Fprintf(os.Stderr, "got %v, want EFBIG", err)
		return 1
	}
	return 0
}
