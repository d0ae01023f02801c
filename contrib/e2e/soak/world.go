package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/rules"
)

// patience bounds everything that has to come. It is used up only by what goes
// wrong.
const patience = time.Minute

// world is a user with a home, a daemon, and somewhere to connect to.
type world struct {
	options
	tally
	words     []string // of the command line, behind the scenario
	dir       string
	home      string // of configuration and state
	run       string // of the socket, below dir
	env       []string
	receivers []*receiver
	ledger    *ledger
	desktop   *desktop // nil: the front end answers

	ends []func()

	// enter is a command in front of the daemon's: how it gets to its disks.
	enter []string
	disks *disks // nil: it has none of its own

	mu  sync.Mutex
	rnd *rand.Rand
}

func newWorld(o options, log io.Writer) (*world, error) {
	if o.netjail == "" {
		return nil, errors.New("which netjail? give -netjail FILE, or use contrib/soak")
	}
	dir, err := os.MkdirTemp("", "soak")
	if err != nil {
		return nil, err
	}
	w := &world{options: o, dir: dir, rnd: rand.New(rand.NewPCG(o.seed, 1))}
	w.log, w.counts, w.bad = log, make(map[string]int64), make(map[string]int64)
	w.ends = append(w.ends, func() { os.RemoveAll(dir) })
	w.ledger = newLedger(w)
	w.run = "run"
	w.move(dir)
	for _, d := range []string{"run", "config/netjail/rules", "state"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// move has configuration and state elsewhere from then on.
func (w *world) move(home string) {
	w.home = home
	w.env = []string{
		"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG=C.UTF-8", "GOTRACEBACK=all", "HOME=" + w.dir,
		"XDG_RUNTIME_DIR=" + filepath.Join(w.dir, w.run), "XDG_CONFIG_HOME=" + filepath.Join(home, "config"), "XDG_STATE_HOME=" + filepath.Join(home, "state"),
	}
	if w.desktop != nil {
		w.env = append(w.env, "DBUS_SESSION_BUS_ADDRESS=unix:path="+filepath.Join(w.dir, "bus"))
	}
}

// close ends everything, the latest first.
func (w *world) close() {
	for i := len(w.ends) - 1; i >= 0; i-- {
		w.ends[i]()
	}
}

func (w *world) atEnd(f func()) { w.ends = append(w.ends, f) }

// pick returns a number below n, from the seed.
func (w *world) pick(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rnd.IntN(n)
}

// moment returns a time below d, from the seed: most of them short.
func (w *world) moment(d time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.rnd.Float64()
	return time.Duration(f * f * float64(d))
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// within waits for something that nothing announces.
func within(ctx context.Context, limit time.Duration, what string, happened func() bool) error {
	for end := time.Now().Add(limit); !happened(); time.Sleep(2 * time.Millisecond) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(end) {
			return fmt.Errorf("waited in vain: %s", what)
		}
	}
	return nil
}

// command is netjail with arguments, in a session of its own.
func (w *world) command(args ...string) *exec.Cmd { return w.commandOf(w.netjail, args...) }

func (w *world) commandOf(netjail string, args ...string) *exec.Cmd {
	cmd := exec.Command(netjail, args...)
	cmd.Env, cmd.Dir = w.env, w.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// output runs a command to its end.
func output(cmd *exec.Cmd) (stdout, stderr string, code int, err error) {
	var out, says strings.Builder
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &says, patience
	if err := cmd.Start(); err != nil {
		return "", "", -1, err
	}
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	err = cmd.Wait()
	if !timer.Stop() {
		return out.String(), says.String(), -1, fmt.Errorf("%v: hangs", cmd.Args)
	}
	if _, exited := errors.AsType[*exec.ExitError](err); exited {
		err = nil
	}
	return out.String(), says.String(), cmd.ProcessState.ExitCode(), err
}

// socket is the daemon's.
func (w *world) socket() string { return filepath.Join(w.dir, w.run, "netjail", "daemon.sock") }

// rulesDir is where the rule files are.
func (w *world) rulesDir() string { return filepath.Join(w.home, "config", "netjail", "rules") }

// stateDir is where the daemon keeps what it makes for itself.
func (w *world) stateDir() string { return filepath.Join(w.home, "state", "netjail") }

// daemonPID is what holds the lock now, or held it last.
func (w *world) daemonPID() int {
	b, err := os.ReadFile(filepath.Join(w.dir, w.run, "netjail", "lock"))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

// dial connects to the daemon, as a client that listens.
func (w *world) dial(events func(*api.Message)) (*api.Client, error) {
	c, err := api.Dial(w.socket(), events)
	if err != nil {
		return nil, err
	}
	if err := c.Listen(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// ask asks the daemon one thing.
func (w *world) ask(ctx context.Context, op string, args, reply any) error {
	c, err := w.dial(nil)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return c.Call(ctx, op, args, reply)
}

// serves says whether the daemon answers.
func (w *world) serves(ctx context.Context) bool {
	return w.ask(ctx, api.OpStatus, nil, nil) == nil
}

// startDaemon starts a daemon, unless somebody else was faster, and waits until
// one serves.
func (w *world) startDaemon(ctx context.Context, flags ...string) error {
	cmd := w.command(append([]string{"daemon"}, flags...)...)
	if len(w.enter) > 0 {
		args := append(slices.Clone(w.enter), cmd.Args...)
		inside := exec.Command(args[0], args[1:]...)
		inside.Env, inside.Dir, inside.SysProcAttr = cmd.Env, cmd.Dir, cmd.SysProcAttr
		cmd = inside
	}
	log, err := os.OpenFile(filepath.Join(w.dir, "daemon.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }()
	return within(ctx, patience, "the daemon serves", func() bool { return w.serves(ctx) })
}

// killDaemon ends it, if there is one. The process that is killed is the one
// that holds the lock: its number may be another's otherwise.
func (w *world) killDaemon(sig syscall.Signal) error {
	pid := w.daemonPID()
	if pid == 0 || !strings.Contains(commandLine(pid), "\x00daemon") {
		return nil
	}
	if err := syscall.Kill(pid, sig); err != nil && err != syscall.ESRCH {
		return fmt.Errorf("kill the daemon: %w", err)
	}
	return within(context.Background(), patience, "the daemon ends", func() bool { return !runs(pid) })
}

func commandLine(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return string(b)
}

// runs says whether a process has not ended. One whose first thread has ended
// may have others, which hold its descriptors.
func runs(pid int) bool {
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, t := range tasks {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/stat", pid, t.Name()))
		if err != nil {
			continue
		}
		if state := b[strings.LastIndexByte(string(b), ')')+2]; state != 'Z' && state != 'X' {
			return true
		}
	}
	return false
}

// furnish makes receivers of each kind, the rules that speak of them, and a
// daemon, which ends with the world.
func (w *world) furnish(ctx context.Context, flags ...string) error {
	w.never(reachedDenied)
	for _, kind := range []string{byRule, byFlag, asked, refused, denied, byUDP, noUDP} {
		r, err := listen(kind)
		if err != nil {
			return err
		}
		w.atEnd(r.close)
		w.receivers = append(w.receivers, r)
	}
	if err := w.startDaemon(ctx, flags...); err != nil {
		return err
	}
	w.atEnd(func() { _ = w.killDaemon(syscall.SIGKILL) })
	return w.allow(ctx, w.receivers...)
}

// allow writes the rules that receivers need.
func (w *world) allow(ctx context.Context, list ...*receiver) error {
	for _, r := range list {
		var v rules.Verdict
		switch r.kind {
		case byRule, byUDP:
			v = rules.Allow
		case denied, noUDP:
			v = rules.Deny
		default:
			continue
		}
		dest, err := rules.ParseDestination(r.network + "://" + r.addr)
		if err != nil {
			return err
		}
		if err := w.ask(ctx, api.OpRulesAdd, api.Rule{App: jailApp, Verdict: v, Dest: dest, Enabled: true}, nil); err != nil {
			return fmt.Errorf("add a rule: %w", err)
		}
	}
	return nil
}

// of returns the receiver of a kind.
func (w *world) of(kind string) *receiver {
	for _, r := range w.receivers {
		if r.kind == kind {
			return r
		}
	}
	return nil
}

// destinations lists them as the program in a jail is told.
func destinations(list []*receiver) (words []string) {
	for _, r := range list {
		words = append(words, r.destination())
	}
	return words
}

// checkDenied looks for what must not have arrived.
func (w *world) checkDenied() error {
	for _, r := range w.receivers {
		if r.allowed() {
			continue
		}
		n, err := r.settled()
		if err != nil {
			return err
		}
		if n > 0 {
			w.wrong(reachedDenied, "%d at %s (%s)", n, r.addr, r.kind)
			r.count.Store(0)
		}
	}
	return nil
}

// status asks the daemon how it is.
func (w *world) status(ctx context.Context) (st api.Status, err error) {
	return st, w.ask(ctx, api.OpStatus, nil, &st)
}

// checkState looks at what a daemon that was killed has left behind.
func (w *world) checkState(ctx context.Context) error {
	w.never(historyWrong)
	st, err := w.status(ctx)
	if err != nil {
		return err
	}
	if st.Problem != "" {
		w.wrong(rulesLost, "%s", st.Problem)
	}
	if st.History != "" {
		w.wrong(historyWrong, "%s", st.History)
	}
	if aside, _ := filepath.Glob(filepath.Join(w.stateDir(), "*.broken-*")); len(aside) > 0 {
		w.wrong(historyWrong, "set aside: %v", aside)
		for _, name := range aside {
			_ = os.Remove(name)
		}
	}
	var page json.RawMessage
	if err := w.ask(ctx, api.OpHistoryQuery, api.HistoryFilter{}, &page); err != nil {
		w.wrong(historyWrong, "%v", err)
	}
	return nil
}
