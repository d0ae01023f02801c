package desk

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// daemonOn starts a daemon whose rules are on a small file system of their
// own, in a mount namespace, after the commands of prepare have run there.
// $rules is the directory, $rule a good rule.
func daemonOn(t *testing.T, h *e2etest.Home, rule, prepare string) {
	t.Helper()
	flags := []string{"-m"}
	if os.Getuid() != 0 {
		flags = []string{"-rm"}
	}
	if err := os.MkdirAll(h.Rules(), 0o700); err != nil {
		t.Fatal(err)
	}
	script := `set -e
rules=$1 rule=$2 netjail=$3
mount -t tmpfs -o size=64k,mode=700 netjail-test "$rules"
printf '# by hand\n[[rule]]\nallow = "%s"\n' "$rule" > "$rules/curl.toml"
` + prepare + `
exec "$netjail" daemon`
	cmd := exec.Command(e2etest.Need(t, "unshare"), append(flags, "sh", "-c", script, "sh", h.Rules(), rule, e2etest.Bin(t))...)
	cmd.Env, cmd.Dir = h.Env, h.Dir
	background(t, cmd)
	e2etest.WaitFor(t, "the daemon serves", func() bool { return h.Run("status").Code == 0 })
}

// The states of a disk, and what netjail says when it cannot write there.
var disks = []struct{ name, prepare, says string }{
	{"writable", "", ""},
	{"read-only", `mount -o remount,bind,ro "$rules"`, "read-only file system"},
	{"full", `cat /dev/zero > "$rules/fill" 2> /dev/null || true`, "no space left on device"},
}

// TestDisk adds and removes rules where they cannot be written. Nothing is
// lost, and nothing is allowed by it.
func TestDisk(t *testing.T) {
	for _, tt := range disks {
		t.Run(tt.name, func(t *testing.T) {
			h := e2etest.NewHome(t)
			srv, other := listen(t), listen(t)
			daemonOn(t, h, srv.Addr(), tt.prepare)
			good := rulesOf(t, h)
			if len(good) != 1 {
				t.Fatalf("rules: %q", good)
			}
			add := h.Run("rules", "add", "curl", "allow", other.Addr())
			if tt.says == "" {
				wantResult(t, "add", add, 0)
				wantResult(t, "curl", h.Run("curl", "-s", other.url()), 0)
				other.wantReached(t, "in the end", 1)
				return
			}
			wantResult(t, "add", add, 2, "netjail: error: save ", tt.says)
			remove := h.Run("rules", "remove", "curl", srv.Addr())
			if tt.name == "read-only" { // what is shorter may fit on a full disk
				wantResult(t, "remove", remove, 2, "netjail: error: save ", tt.says)
			} else if remove.Code == 0 {
				good = nil
			}
			wantResult(t, "reload", h.Run("rules", "reload"), 0)
			wantRules(t, h, good...)
			wantResult(t, "the old rule", h.Run("curl", "-s", srv.url()), map[bool]int{true: 0, false: 7}[len(good) > 0])
			wantResult(t, "the new rule", h.Run("curl", "-s", other.url()), 7)
			srv.wantReached(t, "in the end", len(good))
			other.wantReached(t, "in the end", 0)
		})
	}
}

// TestAlwaysCannotBeKept answers "always" where no rule can be written: it
// holds until the program exits, and a line says so.
func TestAlwaysCannotBeKept(t *testing.T) {
	for _, tt := range disks[1:] {
		t.Run(tt.name, func(t *testing.T) {
			h := e2etest.NewHome(t)
			srv, other := listen(t), listen(t)
			daemonOn(t, h, other.Addr(), tt.prepare)
			good := rulesOf(t, h)
			s := newScreen(t, h)
			s.run("run", fmt.Sprintf("netjail --as curl sh -c 'curl -s %s && curl -s %s'", srv.url(), srv.url()))
			s.question(h)
			srv.wantReached(t, "before the answer", 0)
			s.keys("A")
			s.ended("run", 0)
			s.wait("netjail: error: .*" + tt.says)
			srv.wantReached(t, "after the answer", 2)
			wantRules(t, h, good...)
			s.forget()
			s.run("again", "netjail curl -s "+srv.url())
			s.question(h)
			s.keys("d")
			s.ended("again", 7)
			srv.wantReached(t, "in the end", 2)
		})
	}
}
