package origin

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/netjail/netjail/notifier"
)

// TestMain makes the test binary a program that waits for the end of its input.
func TestMain(m *testing.M) {
	if os.Getenv("NETJAIL_TEST_ORIGIN") != "" {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// running copies the test binary to a path, runs it and returns its pid.
func running(t *testing.T, path string) int {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(self))
	cmd := exec.Command(path)
	cmd.Env = []string{"NETJAIL_TEST_ORIGIN=1"}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	return cmd.Process.Pid
}

// fixture is a home and a package database below a temporary directory.
func fixture(t *testing.T) (dir string, f *Finder) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/home/.profile", "")
	write(t, dir+"/info/other.list", "/.\n"+dir+"/usr/bin/tools\n/x"+dir+"/usr/bin/tool\n")
	write(t, dir+"/info/tool:amd64.list", "/.\n"+dir+"/usr\n"+dir+"/usr/bin/tool\n")
	write(t, dir+"/info/tool:amd64.md5sums", dir+"/usr/bin/loose\n")
	return dir, New(Config{Home: dir + "/home", DpkgInfo: dir + "/info", Rpm: "/nonexistent", DataDirs: []string{dir + "/share"}})
}

func TestOwner(t *testing.T) {
	dir, f := fixture(t)
	for _, c := range []struct {
		name, path string
		want       notifier.About
	}{
		{"package", dir + "/usr/bin/tool", notifier.About{Package: "tool", Origin: notifier.FromPackage}},
		{"home", dir + "/home/bin/tool", notifier.About{Origin: notifier.FromHome}},
		{"loose", dir + "/usr/bin/loose", notifier.About{Origin: notifier.FromNone}},
	} {
		pid := running(t, c.path)
		for _, again := range []string{"", " again"} {
			if got := <-f.Find(t.Context(), c.path, pid, ""); got != c.want {
				t.Errorf("%s%s: got %+v, want %+v", c.name, again, got, c.want)
			}
		}
		if err := os.Remove(c.path); err != nil {
			t.Fatal(err)
		}
		want := notifier.About{Origin: notifier.Replaced}
		if got := <-f.Find(t.Context(), c.path+" (deleted)", pid, ""); got != want {
			t.Errorf("%s, deleted: got %+v, want %+v", c.name, got, want)
		}
		write(t, c.path, "#!/bin/sh\n")
		if got := <-f.Find(t.Context(), c.path, pid, ""); got != want {
			t.Errorf("%s, replaced: got %+v, want %+v", c.name, got, want)
		}
	}
}

func TestUnknown(t *testing.T) {
	dir, f := fixture(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, exe string
		pid       int
	}{
		{"nothing", "", 0},
		{"no process", exe, 0},
		{"not a path", "tool", os.Getpid()},
		{"no such process", exe, 1 << 30},
	} {
		if got := <-f.Find(t.Context(), c.exe, c.pid, c.exe+"x"); got != (notifier.About{}) {
			t.Errorf("%s: got %+v, want nothing", c.name, got)
		}
	}
	f = New(Config{Home: "/nonexistent", DpkgInfo: dir + "/none", Rpm: "/nonexistent", DataDirs: []string{}})
	if got := <-f.Find(t.Context(), exe, os.Getpid(), exe); got != (notifier.About{}) {
		t.Errorf("without a package manager: got %+v, want nothing", got)
	}
}

// TestEnd ends a search that waits for others that do not end.
func TestEnd(t *testing.T) {
	_, f := fixture(t)
	for range maxSearches {
		f.running <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	found := f.Find(ctx, "/bin/sh", os.Getpid(), "")
	cancel()
	<-f.running // a place is free, but nobody wants to know any more
	select {
	case got := <-found:
		if got.Origin == notifier.FromPackage {
			t.Errorf("got %+v after the end", got)
		}
	default:
	}
}

// TestDpkg asks for what the distribution has, where it is one of dpkg's.
func TestDpkg(t *testing.T) {
	if _, err := os.Stat("/var/lib/dpkg/info/coreutils.list"); err != nil {
		t.Skip("no coreutils installed by dpkg")
	}
	for _, name := range []string{"ls", "cp"} { // /bin/ls in the list of a release that has /bin as a link
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if path, err = filepath.EvalSymlinks(path); err != nil {
			t.Fatal(err)
		}
		if got, known := dpkgOwner(t.Context(), "/var/lib/dpkg/info", path); got != "coreutils" || !known {
			t.Errorf("%s: got %q, %v, want coreutils", path, got, known)
		}
	}
}

func TestRpm(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name, script, want string
		known              bool
	}{
		{"owned", `[ "$*" = '-qf --queryformat %{NAME}\n /usr/bin/x' ] && printf 'tool\ntool2\n'`, "tool", true},
		{"not owned", `echo "file $4 is not owned by any package"; exit 1`, "", true},
		{"broken", `echo "error: cannot open Packages database" >&2; exit 1`, "", false},
		{"silent", `exit 0`, "", false},
	} {
		rpm := write(t, filepath.Join(dir, strings.ReplaceAll(c.name, " ", "-")), "#!/bin/sh\n"+c.script+"\n")
		if got, known := rpmOwner(t.Context(), rpm, "/usr/bin/x"); got != c.want || known != c.known {
			t.Errorf("%s: got %q, %v, want %q, %v", c.name, got, known, c.want, c.known)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	rpm := write(t, filepath.Join(dir, "slow"), "#!/bin/sh\nexec sleep 1000\n")
	if got, known := rpmOwner(ctx, rpm, "/usr/bin/x"); known {
		t.Errorf("out of time: got %q, %v", got, known)
	}
}

func TestHasLine(t *testing.T) {
	for _, c := range []struct {
		list string
		want bool
	}{
		{"", false},
		{"/bin/x", true},
		{"/bin/x\n", true},
		{"/.\n/bin/x\n/bin/y\n", true},
		{"/bin/xx\n/usr/bin/x\n", false},
		{"/bin/x/bin/x\n/bin/x\n", true},
		{"/usr/bin/x\n/bin/x", true},
	} {
		if got := hasLine([]byte(c.list), "/bin/x"); got != c.want {
			t.Errorf("%q: got %v, want %v", c.list, got, c.want)
		}
	}
}

func BenchmarkDpkg(b *testing.B) {
	for b.Loop() {
		dpkgOwner(b.Context(), "/var/lib/dpkg/info", "/usr/bin/nothing")
	}
}
