package programs

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

// counter counts what has arrived.
type counter interface {
	Settled(t testing.TB) int
}

// trial is a program and its only destination. It is run without netjail,
// allowed, and not allowed.
type trial struct {
	args  []string
	flags []string // netjail's, besides --allow
	dest  string   // as a hint names it
	count counter

	prepare func(*exec.Cmd)  // before each run
	check   func(*testing.T) // after each run that is not denied
	denied  denial
}

// denial says how a program is expected to fail.
type denial struct {
	code   int // 0: any but 0
	within time.Duration
}

// atOnce is how long a denied program may take. It is far below the time after
// which any of them gives up by itself.
const atOnce = 20 * time.Second

// native returns a command that runs without netjail, otherwise like one of
// h.Command.
func native(h *e2etest.Home, args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env, cmd.Dir = h.Env, h.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// command returns netjail's arguments.
func (tr *trial) command(flags ...string) []string {
	return slices.Concat([]string{"--no-prompt"}, tr.flags, flags, tr.args)
}

func (tr *trial) app() string { return filepath.Base(tr.args[0]) }

// run makes the three runs, each of which is a subtest.
func (tr *trial) run(t *testing.T) {
	t.Helper()
	e2etest.Need(t, tr.args[0])
	h := e2etest.NewHome(t)
	plain, arrived := tr.once(t, h, native(h, tr.args...))
	if plain.Code != 0 || arrived == 0 || plain.Stdout == "" && tr.check == nil {
		t.Fatalf("without netjail: code %d, %d arrived, stdout %q, stderr:\n%s", plain.Code, arrived, plain.Stdout, plain.Stderr)
	}
	tr.look(t)
	t.Run("denied", func(t *testing.T) { tr.runDenied(t, h) })
	t.Run("allowed", func(t *testing.T) {
		got, n := tr.once(t, h, h.Command(tr.command("--allow", tr.dest)...))
		if got.Stdout != plain.Stdout || got.Code != plain.Code {
			t.Errorf("code %d, stdout:\n%s\nwant code %d, stdout:\n%s\nstderr:\n%s", got.Code, got.Stdout, plain.Code, plain.Stdout, got.Stderr)
		}
		if n != arrived {
			t.Errorf("%d arrived, want %d as without netjail", n, arrived)
		}
		wantHints(t, got.Stderr, tr.app())
		tr.look(t)
	})
}

func (tr *trial) runDenied(t *testing.T, h *e2etest.Home) {
	start := time.Now()
	got, n := tr.once(t, h, h.Command(tr.command()...))
	took := time.Since(start)
	if n != 0 {
		t.Errorf("%d arrived, want none", n)
	}
	if want := tr.denied.code; got.Code == 0 || want != 0 && got.Code != want {
		t.Errorf("code %d, want %d (0: any failure), stdout %q", got.Code, want, got.Stdout)
	}
	limit := atOnce
	if tr.denied.within != 0 {
		limit = tr.denied.within
	}
	if took > limit {
		t.Errorf("failed after %v, want less than %v", took, limit)
	}
	wantHints(t, got.Stderr, tr.app(), tr.dest)
}

// once runs a command and says how much arrived meanwhile.
func (tr *trial) once(t *testing.T, h *e2etest.Home, cmd *exec.Cmd) (e2etest.Result, int) {
	t.Helper()
	if tr.prepare != nil {
		tr.prepare(cmd)
	}
	before := tr.count.Settled(t)
	r := h.Finish(cmd)
	return r, tr.count.Settled(t) - before
}

func (tr *trial) look(t *testing.T) {
	t.Helper()
	if tr.check != nil {
		tr.check(t)
	}
}

// hint is the form of a line about a refusal: what happened, and what to type
// into a shell.
var hint = regexp.MustCompile(`^netjail: denied: (\S+) (?:connect|send|listen|look up) (\S+): .+\. To allow it: netjail rules add (\S+) allow '?([^\s']+)'?$`)

// hints returns the destinations that stderr has lines about, for app.
func hints(t *testing.T, stderr, app string) map[string]int {
	t.Helper()
	list := make(map[string]int)
	for line := range strings.Lines(stderr) {
		line = strings.TrimRight(line, "\n")
		if !strings.Contains(line, "netjail:") || strings.HasPrefix(line, "netjail: note: ") {
			continue
		}
		m := hint.FindStringSubmatch(line)
		if m != nil && strings.Contains(line, " look up ") {
			continue // browsers look up whatever they like
		}
		if m == nil || m[1] != app || m[3] != app || m[2] != m[4] {
			t.Errorf("not a hint about %s: %q", app, line)
			continue
		}
		list[m[2]]++
	}
	return list
}

// wantHints wants one line about each destination, and no others.
func wantHints(t *testing.T, stderr, app string, dests ...string) {
	t.Helper()
	got := hints(t, stderr, app)
	for _, d := range dests {
		if got[d] != 1 {
			t.Errorf("%d hints about %s, want 1; stderr:\n%s", got[d], d, stderr)
		}
		delete(got, d)
	}
	for d := range got {
		t.Errorf("a hint about %s, want none; stderr:\n%s", d, stderr)
	}
}
