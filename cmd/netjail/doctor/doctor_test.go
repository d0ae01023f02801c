package doctor

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/guard/client"
	"github.com/netjail/netjail/notifier/desktop"
)

// at returns a system with these files, below a root of its own.
func at(t *testing.T, files map[string]string, env ...string) *visit {
	t.Helper()
	v := &visit{System: System{Root: t.TempDir(), Env: env, Wait: time.Minute}}
	for name, text := range files {
		path := v.path(name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

// want is a part of each text.
type want struct {
	state             State
	detail, lost, fix string
}

func (w want) check(t *testing.T, r Result) {
	t.Helper()
	if r.State != w.state || !strings.Contains(r.Detail, w.detail) || !strings.Contains(r.Lost, w.lost) || !strings.Contains(r.Fix, w.fix) {
		t.Errorf("got %v: %q, lost %q, fix %q; want %+v", r.State, r.Detail, r.Lost, r.Fix, w)
	}
	if r.State == OK && (r.Lost != "" || r.Fix != "") {
		t.Errorf("nothing is lost, and there is %q to fix by %q", r.Lost, r.Fix)
	}
}

// worked is a jail that did what it should.
var worked = jailTrial{
	WakeUp: true, Decided: 4,
	Victim:  victim{Refused: unix.EACCES, Unsent: unix.EACCES, Signal: unix.EPERM, Getfd: unix.EPERM},
	Arrived: arrivals{Connect: true, Send: true},
}

func TestJudge(t *testing.T) {
	trial := func(change func(*jailTrial)) jailTrial { c := worked; change(&c); return c }
	wsl := map[string]string{"/proc/sys/kernel/osrelease": "5.15.167.4-microsoft-standard-WSL2\n"}
	for _, c := range []struct {
		name   string
		files  map[string]string
		inside bool
		trial  jailTrial
		want   want
	}{
		{"works", nil, false, worked, want{OK, "4 calls", "", ""}},
		{"nothing is known", nil, false, jailTrial{}, want{state: Fails}},
		{"in a jail", nil, true, jailTrial{Nested: true}, want{Fails, "no second one", "all of it", "outside of it"}},
		{"in a sandbox", nil, false, jailTrial{Nested: true, Failed: "start"}, want{Fails, "listener for this process is taken", "", "outside of this container"}},
		{"mirrored", wsl, false, jailTrial{Nested: true, Failed: "start"}, want{Fails, "mirrored networking", "", "networkingMode=nat"}},
		{"no seccomp", nil, false, jailTrial{Failed: "seccomp: x", Op: "seccomp", Errno: unix.EINVAL}, want{Fails, "seccomp: x", "", "CONFIG_SECCOMP_FILTER"}},
		{"no seccomp call", nil, false, jailTrial{Failed: "seccomp", Errno: unix.ENOSYS}, want{Fails, "seccomp", "", "5.10"}},
		{"forbidden", nil, false, jailTrial{Failed: "seccomp", Op: "seccomp", Errno: unix.EPERM}, want{Fails, "seccomp", "", "outside of this container"}},
		{"no loopback", nil, false, jailTrial{Failed: "listen", Op: noLoopback, Errno: unix.EADDRNOTAVAIL}, want{Fails, "listen", "", "ip link set lo up"}},
		{"refused all", nil, false, trial(func(t *jailTrial) { t.Victim.Connect, t.Arrived.Connect = unix.EACCES, false }), want{Fails, "connection that was allowed failed with EACCES", "", "what else fails"}},
		{"lost a connection", nil, false, trial(func(t *jailTrial) { t.Arrived.Connect = false }), want{Fails, "connection that was allowed did not arrive", "", "report"}},
		{"lost a datagram", nil, false, trial(func(t *jailTrial) { t.Arrived.Send = false }), want{Fails, "datagram that was allowed did not arrive", "", "report"}},
		{"let through", nil, false, trial(func(t *jailTrial) { t.Victim.Refused, t.Arrived.Refused = 0, true }), want{Fails, "denied was made", "", "report"}},
		{"let through and denied it", nil, false, trial(func(t *jailTrial) { t.Arrived.Unsent = true }), want{Fails, "denied was made", "", "report"}},
		{"another errno", nil, false, trial(func(t *jailTrial) { t.Victim.Unsent = unix.ENOSYS }), want{Fails, "EACCES and ENOSYS", "", "report"}},
		{"did not ask", nil, false, trial(func(t *jailTrial) { t.Decided = 3 }), want{Fails, "only 3 of 4", "", "report"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := at(t, c.files)
			v.inside = c.inside
			c.want.check(t, judge(v, c.trial))
		})
	}
}

func TestReach(t *testing.T) {
	trial := func(signal, getfd unix.Errno) jailTrial {
		c := worked
		c.Victim.Signal, c.Victim.Getfd = signal, getfd
		return c
	}
	for _, c := range []struct {
		trial jailTrial
		want  want
	}{
		{worked, want{OK, "neither", "", ""}},
		{trial(0, unix.EPERM), want{Lost, "signal", "which it can end", "6.12"}},
		{trial(0, 0), want{Lost, "descriptor", "sockets", "ptrace_scope=1"}},
		{trial(unix.ESRCH, unix.ESRCH), want{Lost, "ESRCH", "answer", "report"}},
		{jailTrial{Nested: true}, want{Absent, "no jail", "", ""}},
	} {
		c.want.check(t, reach(c.trial))
	}
}

func TestLandlock(t *testing.T) {
	for _, c := range []struct {
		abi    int
		errno  unix.Errno
		errata int
		want   want
	}{
		{7, 0, 7, want{OK, "ABI 7, errata fixed: 1 2 3", "", ""}},
		{6, 0, -1, want{OK, "ABI 6", "", ""}},
		{4, 0, 0, want{Lost, "ABI 4 cannot keep signals in", "signal", "6.12"}},
		{3, 0, -1, want{Lost, "ABI 3 knows no network", "second wall", "6.7"}},
		{-1, unix.ENOSYS, -1, want{Lost, "none: ENOSYS", "second wall", "6.7"}},
		{-1, unix.EOPNOTSUPP, -1, want{Lost, "not enabled", "second wall", "lsm=landlock"}},
	} {
		c.want.check(t, landlock(c.abi, c.errno, c.errata))
	}
}

func TestUnreadable(t *testing.T) {
	for _, c := range []struct {
		files map[string]string
		err   error
		fix   string
	}{
		{nil, unix.EPERM, "seccomp filter or a security module"},
		{nil, unix.ENOSYS, "5.10"},
		{map[string]string{yamaScope: "1\n"}, unix.EPERM, "seccomp filter or a security module"},
		{map[string]string{yamaScope: "2\n"}, unix.EPERM, "sudo sysctl kernel.yama.ptrace_scope=1"},
		{map[string]string{yamaScope: "3\n"}, unix.EPERM, "boot with"},
		{map[string]string{"/.dockerenv": ""}, unix.EPERM, "docker run --cap-add SYS_PTRACE"},
		{map[string]string{"/run/.containerenv": ""}, unix.EPERM, "podman run --cap-add SYS_PTRACE"},
	} {
		want{Fails, c.err.Error(), "all of it", c.fix}.check(t, unreadable(at(t, c.files), c.err))
	}
}

func TestYama(t *testing.T) {
	for text, detail := range map[string]string{"": "not there", "0\n": "0: ", "1\n": "what it started", "2\n": "only root", "3\n": "nobody"} {
		files := map[string]string{yamaScope: text}
		want{state: OK, detail: detail}.check(t, tryYama(t.Context(), at(t, files)))
	}
}

func TestUserns(t *testing.T) {
	for _, c := range []struct{ file, text, fix string }{
		{"/none", "", "forbids it"},
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n", "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"},
		{"/proc/sys/kernel/unprivileged_userns_clone", "0\n", "sudo sysctl kernel.unprivileged_userns_clone=1"},
		{"/proc/sys/user/max_user_namespaces", "0\n", "sudo sysctl user.max_user_namespaces="},
	} {
		v := at(t, map[string]string{c.file: c.text})
		want{Lost, "EPERM", "Chromium", c.fix}.check(t, usernsRefused(v, unix.EPERM))
	}
}

func TestPlaces(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		env   []string
		want  string
	}{
		{"none", nil, nil, ""},
		{"docker", map[string]string{"/.dockerenv": ""}, nil, "docker"},
		{"podman", map[string]string{"/run/.containerenv": ""}, nil, "podman"},
		{"nspawn", map[string]string{"/run/systemd/container": "systemd-nspawn\n"}, nil, "systemd-nspawn"},
		{"its environment", nil, []string{"container=oci"}, "oci"},
		{"init's environment", map[string]string{"/proc/1/environ": "A=b\x00container=lxc\x00"}, nil, "lxc"},
		{"kubernetes", map[string]string{"/proc/self/cgroup": "0::/kubepods.slice/x\n"}, nil, "kubernetes"},
		{"a desktop", map[string]string{"/proc/self/cgroup": "0::/user.slice/user-1000.slice\n"}, nil, ""},
	} {
		if got := at(t, c.files, c.env...).container(); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestWSL(t *testing.T) {
	const release, interop = "/proc/sys/kernel/osrelease", "/proc/sys/fs/binfmt_misc/WSLInterop"
	for _, c := range []struct {
		files map[string]string
		want  want
	}{
		{map[string]string{release: "6.18.4\n"}, want{OK, "not in Windows", "", ""}},
		{map[string]string{release: "5.15.167.4-microsoft-standard-WSL2\n"}, want{OK, "in WSL", "", ""}},
		{map[string]string{release: "4.4.0-19041-Microsoft\n", interop: "enabled\n"}, want{Lost, "Windows programs", "no jail holds", "[interop]"}},
	} {
		c.want.check(t, tryWSL(t.Context(), at(t, c.files)))
	}
}

func TestOuter(t *testing.T) {
	v := at(t, nil, "NETJAIL=1", "NETJAIL_APP=npm")
	want{Lost, "no jail", "", "unset"}.check(t, tryOuter(t.Context(), v))
	v.inside = true
	want{Fails, "jail of npm", "", "outside of it"}.check(t, tryOuter(t.Context(), v))
	want{state: OK}.check(t, tryOuter(t.Context(), at(t, nil)))
}

func TestCgroup(t *testing.T) {
	const hybrid = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n" +
		"32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n" +
		"41 31 0:38 / /sys/fs/cgroup/a\\040b rw,relatime shared:1 master:2 - cgroup2 cgroup2 rw\n"
	if got := cgroupMount(hybrid); got != "/sys/fs/cgroup/a b" {
		t.Errorf("got mount %q", got)
	}
	for _, text := range []string{"", "garbage\n", "1 2 - cgroup2 x\n"} {
		if got := cgroupMount(text); got != "" {
			t.Errorf("%q: got mount %q", text, got)
		}
	}
	if got := cgroupOf("9:name=systemd:/\n0::/user.slice/a:b\n"); got != "/user.slice/a:b" {
		t.Errorf("got group %q", got)
	}
	files := map[string]string{"/proc/self/mountinfo": hybrid, "/proc/self/cgroup": "0::/mine\n", "/sys/fs/cgroup/a b/mine/cgroup.procs": "", "/sys/fs/cgroup/a b/cgroup.procs": ""}
	v := at(t, files)
	if os.Getuid() == 0 {
		// The files are the user's who runs this: root can be held nowhere.
		want{OK, "below /sys/fs/cgroup/a b/mine", "", ""}.check(t, tryCgroup(t.Context(), v))
	} else {
		want{Absent, "may move processes anywhere", "guard", "ordinary user"}.check(t, tryCgroup(t.Context(), v))
	}
	files["/proc/self/cgroup"] = "0::/other\n"
	want{Absent, "other", "guard", ""}.check(t, tryCgroup(t.Context(), at(t, files)))
	want{Absent, "not mounted", "guard", ""}.check(t, tryCgroup(t.Context(), at(t, nil)))
}

func TestPasta(t *testing.T) {
	v := at(t, map[string]string{"/bin/pasta": "#!/bin/sh\necho pasta 1\necho more\n", "/broken/pasta": "#!/bin/sh\necho why >&2; exit 1\n"})
	for _, dir := range []string{"/bin", "/broken"} {
		if err := os.Chmod(v.path(dir+"/pasta"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, w := range map[string]want{
		".:/nowhere":        {Absent, "not in PATH", "without root", "passt"},
		v.path("/bin"):      {OK, "pasta 1", "", ""},
		v.path("/broken"):   {Absent, "why", "without root", "passt"},
		"bin:" + v.path(""): {Absent, "not in PATH", "", ""},
	} {
		v.Env = []string{"PATH=" + path}
		w.check(t, tryPasta(t.Context(), v))
	}
}

func TestTun(t *testing.T) {
	want{Absent, "ENOENT", "without root", "modprobe"}.check(t, tryTun(t.Context(), at(t, nil)))
	v := at(t, map[string]string{"/dev/net/tun": ""})
	want{OK, "opens", "", ""}.check(t, tryTun(t.Context(), v))
}

// TestGuard: the path of a socket has 108 bytes, and test directories more.
func TestGuard(t *testing.T) {
	want{Absent, "not installed", "outlives", ""}.check(t, tryGuard(t.Context(), at(t, nil)))
	v := at(t, map[string]string{client.Socket: ""})
	want{Absent, "dial unix", "outlives", ""}.check(t, tryGuard(t.Context(), v))
}

func TestService(t *testing.T) {
	all := desktop.Server{Name: "dunst", Version: "1.9", PID: 7, Capabilities: []string{"body", "actions"}}
	want{OK, "dunst 1.9 (process 7): body actions", "", ""}.check(t, service(all, nil))
	all.Capabilities = []string{"body"}
	want{Lost, "dunst 1.9", "buttons", "actions"}.check(t, service(all, nil))
	want{Lost, "no session bus", "desktop", "DBUS_SESSION_BUS_ADDRESS"}.check(t, service(desktop.Server{}, desktop.ErrNoBus))
}

func TestVerdict(t *testing.T) {
	for want, states := range map[string][]State{Works: {OK, Absent}, Less: {OK, Lost, Absent}, Cannot: {OK, Fails, Lost}} {
		var list []Result
		for _, s := range states {
			list = append(list, Result{State: s})
		}
		if got := verdict(list); got != want {
			t.Errorf("%v: got %s, want %s", states, got, want)
		}
	}
	if (Result{}).State != Fails {
		t.Error("what is not known does not fail")
	}
}

// TestLate: a probe that does not come back holds nobody up.
func TestLate(t *testing.T) {
	never := make(chan struct{})
	defer close(never)
	v := at(t, nil)
	v.Wait = time.Millisecond
	for _, name := range []string{"jail", "notification"} {
		p := probe{name: name, try: func(context.Context, *visit) Result { <-never; return Result{} }}
		r := p.run(t.Context(), v)
		if w := map[string]State{"jail": Fails, "notification": Lost}[name]; r.State != w || r.Name != name {
			t.Errorf("%s: got %+v, want %v", name, r, w)
		}
	}
}

// TestDeadBus: a session bus that says nothing is told apart in time.
func TestDeadBus(t *testing.T) {
	dir, err := os.MkdirTemp("", "nj") // a socket's path has 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	bus := filepath.Join(dir, "bus")
	l, err := net.Listen("unix", bus)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	v := at(t, nil, "DBUS_SESSION_BUS_ADDRESS=unix:path="+bus)
	v.Wait = 20 * time.Millisecond
	p := probe{name: "notification", try: tryNotification}
	want{Lost, "not answer", "", ""}.check(t, p.run(t.Context(), v))
	for _, c := range []struct {
		env []string
		fix string
	}{{nil, "dbus-run-session"}, {[]string{"XDG_RUNTIME_DIR=" + dir}, "export DBUS_SESSION_BUS_ADDRESS=unix:path=" + bus}} {
		v = &visit{System: System{Root: "/", Env: c.env}}
		want{Lost, "not set", "desktop", c.fix}.check(t, tryNotification(t.Context(), v))
	}
}

// TestNames: each probe has a name of its own.
func TestNames(t *testing.T) {
	var names []string
	for _, p := range probes {
		if p.name == "" || p.try == nil || slices.Contains(names, p.name) {
			t.Errorf("%+v", p)
		}
		names = append(names, p.name)
	}
}
