package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestMain runs the tests as root: an ordinary user makes no cgroups here.
func TestMain(m *testing.M) {
	if os.Getuid() != 0 {
		fmt.Println("cgroup: tested as root only")
		os.Exit(map[bool]int{true: 1}[os.Getenv("NETJAIL_TEST_REQUIRE") == "1"])
	}
	os.Exit(m.Run())
}

// TestPlace has a hierarchy as systemd makes it, in ordinary directories.
func TestPlace(t *testing.T) {
	const uid, other = 1000, 1001
	mount := t.TempDir()
	if err := os.Chmod(mount, 0o755); err != nil {
		t.Fatal(err)
	}
	mkdir := func(path string, uid int, mode os.FileMode) {
		dir := filepath.Join(mount, path)
		procs := filepath.Join(dir, "cgroup.procs")
		err := os.MkdirAll(dir, 0o755)
		if err == nil {
			err = os.WriteFile(procs, nil, 0o644)
		}
		if err == nil {
			err = os.Chmod(procs, mode)
		}
		for _, path := range []string{dir, procs} {
			if err == nil {
				err = os.Chown(path, uid, uid)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for path, owner := range map[string]int{
		"": 0, "user.slice": 0, "user.slice/user-1000.slice": 0, "user.slice/user-1000.slice/session-1.scope": 0,
		"user.slice/user-1000.slice/user@1000.service":                           uid,
		"user.slice/user-1000.slice/user@1000.service/app.slice":                 uid,
		"user.slice/user-1000.slice/user@1000.service/app.slice/firefox.scope":   uid,
		"user.slice/user-1000.slice/user@1000.service/app.slice/odd.scope":       0,
		"user.slice/user-1000.slice/user@1000.service/app.slice/odd.scope/below": uid,
		"system.slice": 0, "system.slice/their.service": other,
	} {
		mkdir(path, owner, 0o644)
	}
	mkdir("shared", 0, 0o664)
	mkdir("world", 0, 0o666)
	tests := []struct {
		group string
		uid   int
		below string
		want  string // "": refused
	}{
		{"/user.slice/user-1000.slice/session-1.scope", uid, "/", "/user.slice/user-1000.slice/session-1.scope"},
		{"/user.slice/user-1000.slice/user@1000.service/app.slice/firefox.scope", uid, "/", "/user.slice/user-1000.slice"},
		{"/user.slice/user-1000.slice/user@1000.service", uid, "/", "/user.slice/user-1000.slice"},
		// Below the user's own nothing holds the user, whoever has it.
		{"/user.slice/user-1000.slice/user@1000.service/app.slice/odd.scope", uid, "/", "/user.slice/user-1000.slice"},
		{"/user.slice/user-1000.slice/user@1000.service/app.slice/odd.scope/below", uid, "/", "/user.slice/user-1000.slice"},
		{"/user.slice/user-1000.slice/user@1000.service/app.slice", other, "/", "/user.slice/user-1000.slice/user@1000.service/app.slice"},
		{"/user.slice/user-1000.slice/user@1000.service/app.slice", 0, "/", "/user.slice/user-1000.slice/user@1000.service/app.slice"},
		{"/", uid, "/", "/"},
		{"/system.slice", uid, "/", "/system.slice"},
		{"/shared", uid, "/", "/"},
		{"/world", uid, "/", "/"},
		{"/world", 0, "/", "/"},
		{"/system.slice/their.service", uid, "/user.slice", ""},
		{"/user.slice/user-1000.slice/user@1000.service", uid, "/user.slice/user-1000.slice/user@1000.service", ""},
		{"/user.slice/none", uid, "/", ""},
	}
	for _, tt := range tests {
		got, err := (&Tree{Mount: mount, Below: tt.below}).Place(tt.group, tt.uid)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s of %d: got %q, %v, want %q", tt.group, tt.uid, got, err, tt.want)
		}
	}
	mkdir("", uid, 0o644)
	if got, err := (&Tree{Mount: mount, Below: "/"}).Place("/user.slice", uid); err == nil {
		t.Errorf("where the user has the root: got %q", got)
	}
}

func TestGroupOf(t *testing.T) {
	tests := []struct{ text, want string }{
		{"0::/\n", "/"},
		{"9:name=systemd:/x\n0::/user.slice/a b\n", "/user.slice/a b"},
		{"0::/../other\n", ""},
		{"0::/a/../b\n", ""},
		{"0::a\n", ""},
		{"1:cpu:/\n", ""},
		{"", ""},
	}
	for _, tt := range tests {
		if got, err := groupOf(tt.text); got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%q: got %q, %v, want %q", tt.text, got, err, tt.want)
		}
	}
}

func TestMountOf(t *testing.T) {
	tests := []struct{ line, want string }{
		{"38 31 0:41 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw", "/sys/fs/cgroup/unified"},
		{"30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate", "/sys/fs/cgroup"},
		{"30 24 0:26 /user.slice /mnt rw - cgroup2 cgroup2 rw", ""},
		{`30 24 0:26 / /mnt/a\040b rw - cgroup2 cgroup2 rw`, ""},
		{"32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu", ""},
		{"nonsense", ""},
	}
	for _, tt := range tests {
		if got := mountOf(tt.line); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.line, got, tt.want)
		}
	}
}

// TestGroup makes one, and puts a process into it.
func TestGroup(t *testing.T) {
	tree, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	prefix := "njgroup-" + strconv.Itoa(os.Getpid()) + "-"
	g, err := tree.Make("/", prefix+"1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = g.Remove() }()
	if g.Level != 1 || g.ID == 0 || g.Path != "/"+prefix+"1" {
		t.Errorf("got %+v", g)
	}
	if again, err := tree.Make("/", prefix+"1"); err == nil {
		t.Errorf("the same again: got %+v", again)
	}
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	home, err := tree.Of(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Take(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if group, err := tree.Of(cmd.Process.Pid); group != g.Path {
		t.Errorf("the process is in %s, %v", group, err)
	}
	if gone, err := g.Remove(); gone || err != nil {
		t.Errorf("not empty: got %v, %v", gone, err)
	}
	left, err := tree.Left(prefix)
	if err != nil || len(left) != 1 || left[0].ID != g.ID {
		t.Errorf("left: got %v, %v", left, err)
	}
	if err := g.Release(tree, nil); err != nil {
		t.Error(err)
	}
	if group, err := tree.Of(cmd.Process.Pid); group != home {
		t.Errorf("released, the process is in %s, %v, want %s", group, err, home)
	}
	if left, err := tree.Left(prefix); err != nil || len(left) != 0 {
		t.Errorf("left: got %v, %v", left, err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err := move(tree.path("/"), cmd.Process.Pid); err == nil || !strings.Contains(err.Error(), "no such process") {
		t.Errorf("a process that has ended: got %v", err)
	}
}
