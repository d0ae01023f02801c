package service

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestLauncher: a program under a supervisor that says yes to everything reaches
// what the jail allows. The keeper that it was forked from is in no jail.
func TestLauncher(t *testing.T) {
	s := newScene(t)
	self := filepath.Join(filepath.Dir(s.socket), "victim") // where a user can execute it
	b, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(self, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	launcher := filepath.Join(filepath.Dir(s.socket), "launcher")
	if dir := os.Getenv("NETJAIL_TEST_PREBUILT"); dir != "" { // where there is no go
		run(t, "cp", filepath.Join(dir, "launcher"), launcher)
	} else {
		run(t, "go", "build", "-o", launcher, "./testdata/launcher")
	}
	for _, uid := range []int{user1, 0} {
		v := start(t, launcher, s.attr(uid), "SELF="+self, "SOCKET="+s.socket, "ALLOW=tcp "+world4+":80 udp "+world4+":80")
		v.want(t, "ok", "dial tcp %s:80", world4)
		v.want(t, "ok", "udp %s:80", world4)
		v.want(t, "not", "dial tcp %s:81", world4)
		v.want(t, "not", "udp %s:81", world4)
		v.want(t, "not", "dial tcp [%s]:81", world6)
		for _, what := range []string{"tcp " + world4 + ":81", "udp " + world4 + ":81", "tcp [" + world6 + "]:81"} {
			s.none(what)
		}
		pid, err := strconv.Atoi(v.do("pid"))
		if err != nil {
			t.Fatal(err)
		}
		p, err := processOf(pid)
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			name string
			pid  int
			want bool
		}{{"program", pid, true}, {"keeper", p.parent, false}, {"launcher", v.cmd.Process.Pid, false}} {
			if group, err := s.tree.Of(tt.pid); err != nil || jailed(group) != tt.want {
				t.Errorf("the %s is in %s, %v", tt.name, group, err)
			}
		}
		v.stop()
		soon(t, "the jail is gone", func() bool { return !strings.Contains(ruleset(t), "jail-") })
	}
}
