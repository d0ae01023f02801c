package names

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// atOnce is how long a denied program may take. It is below the time that
// programs wait for an answer, see resolvConf.
const atOnce = 20 * time.Second

// outcome is what a run came to.
type outcome struct {
	e2etest.Result
	asked   []string // names that the system's DNS server was asked for
	arrived []string // addresses that the web server was connected at
	took    time.Duration
}

// trial makes runs in one home.
type trial struct{ h *e2etest.Home }

func newTrial(t *testing.T) *trial {
	t.Helper()
	return &trial{e2etest.NewHome(t)}
}

// observe runs a command and says what came of it outside.
func (x *trial) observe(t *testing.T, cmd *exec.Cmd) outcome {
	t.Helper()
	system.reset(t)
	web.reset(t)
	start := time.Now()
	r := x.h.Finish(cmd)
	took := time.Since(start)
	return outcome{r, system.names(t), web.arrived(t), took}
}

// bare runs a command without netjail.
func (x *trial) bare(t *testing.T, args ...string) outcome {
	t.Helper()
	return x.observe(t, x.native(args...))
}

func (x *trial) native(args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env, cmd.Dir = x.h.Env, x.h.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// jailed runs a command in a jail that asks nobody.
func (x *trial) jailed(t *testing.T, flags []string, args ...string) outcome {
	t.Helper()
	return x.observe(t, x.h.Command(slices.Concat([]string{"--no-prompt"}, flags, []string{"--"}, args)...))
}

// allow returns the flags that allow destinations.
func allow(dests ...string) (flags []string) {
	for _, d := range dests {
		flags = append(flags, "--allow", d)
	}
	return flags
}

// same wants two runs to have come to the same.
func same(t *testing.T, got, want outcome) {
	t.Helper()
	if got.Stdout != want.Stdout || got.Code != want.Code {
		t.Errorf("code %d, stdout:\n%s\nwithout netjail: code %d, stdout:\n%s\nstderr:\n%s", got.Code, got.Stdout, want.Code, want.Stdout, got.Stderr)
	}
	if !slices.Equal(got.asked, want.asked) || !slices.Equal(got.arrived, want.arrived) {
		t.Errorf("asked %q, arrived %q\nwithout netjail: %q, %q", got.asked, got.arrived, want.asked, want.arrived)
	}
}

// succeeded wants a run without netjail to have looked names up, so that those
// that are missing in the list are missing for a reason.
func (o *outcome) succeeded(t *testing.T, names ...string) {
	t.Helper()
	if o.Code != 0 || o.Stdout == "" {
		t.Fatalf("code %d, stdout %q, stderr:\n%s", o.Code, o.Stdout, o.Stderr)
	}
	for _, name := range names {
		if !slices.Contains(o.asked, name) {
			t.Fatalf("asked %q, want %s among them; stderr:\n%s", o.asked, name, o.Stderr)
		}
	}
}

// nothing wants no name and no connection to have left the jail. The program
// that asks by a socket that is not connected sends a name that nobody has.
func (o *outcome) nothing(t *testing.T) {
	t.Helper()
	o.onlyAsked(t)
	o.onlyArrived(t)
	if o.took > atOnce {
		t.Errorf("took %v, want less than %v", o.took, atOnce)
	}
}

func (o *outcome) onlyAsked(t *testing.T, names ...string) {
	t.Helper()
	got := slices.DeleteFunc(slices.Clone(o.asked), func(s string) bool { return s == "invalid" })
	if !slices.Equal(got, slices.Sorted(slices.Values(names))) {
		t.Errorf("asked %q, want %q; stdout:\n%s\nstderr:\n%s", got, names, o.Stdout, o.Stderr)
	}
}

func (o *outcome) onlyArrived(t *testing.T, addrs ...string) {
	t.Helper()
	if !slices.Equal(o.arrived, addrs) {
		t.Errorf("arrived at %q, want %q; stdout:\n%s\nstderr:\n%s", o.arrived, addrs, o.Stdout, o.Stderr)
	}
}

func (o *outcome) printed(t *testing.T, want string) {
	t.Helper()
	if o.Stdout != want {
		t.Errorf("printed %q, want %q; stderr:\n%s", o.Stdout, want, o.Stderr)
	}
}

// hint is the form of a line about a refusal: what happened, and what to type
// into a shell.
var hint = regexp.MustCompile(`^netjail: denied: (\S+) (look up|connect|send|listen) (\S+): .+\. To allow it: netjail rules add (\S+) allow '?([^\s']+)'?$`)

// hints returns "verb destination" of each line on stderr, for app.
func hints(t *testing.T, stderr, app string) (list []string) {
	t.Helper()
	for line := range strings.Lines(stderr) {
		line = strings.TrimRight(line, "\n")
		if !strings.Contains(line, "netjail:") || strings.HasPrefix(line, "netjail: note: ") {
			continue
		}
		m := hint.FindStringSubmatch(line)
		if m == nil || m[1] != app || m[4] != app || m[3] != m[5] {
			t.Errorf("not a hint about %s: %q", app, line)
			continue
		}
		list = append(list, m[2]+" "+m[3])
	}
	slices.Sort(list)
	return list
}

// hinted wants one line about each of these, and no others.
func (o *outcome) hinted(t *testing.T, app string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := hints(t, o.Stderr, filepath.Base(app)); !slices.Equal(got, want) {
		t.Errorf("hints %q, want %q; stderr:\n%s", got, want, o.Stderr)
	}
}

// run runs a netjail command that must succeed.
func (x *trial) run(t *testing.T, args ...string) {
	t.Helper()
	if r := x.h.Run(args...); r.Code != 0 {
		t.Fatalf("netjail %v: %+v", args, r)
	}
}

// lines joins what a program prints.
func lines(list ...string) string {
	return strings.Join(list, "\n") + "\n"
}

// replaceHost puts a name into an argument.
func replaceHost(arg, host string) string { return strings.ReplaceAll(arg, "HOST", host) }
