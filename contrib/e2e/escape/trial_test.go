package escape

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// trial is one run of a row, in a jail or without one.
type trial struct {
	t      *testing.T
	row    *row
	home   *e2etest.Home
	jailed bool

	allowed, denied *receiver
	stdin           *os.File
	env             []string
	wrap            []string // comes before the command
	allow           []string // flags of netjail that allow the allowed receiver
	flags           []string // more of them
	asks            bool     // netjail may ask
	ends            []func() // after the helper, before the receivers are read

	cmd    *exec.Cmd
	waited chan struct{} // closed when the command has ended
	reply  io.Writer
	result result
}

// patience is how long a helper may take where others have the processors.
const patience = 2 * time.Minute

// result is what a trial came to.
type result struct {
	denied, allowed counts
	leaks, notes    []string
	done            bool
}

// got is what came out: packets, and what counts like them.
func (r *result) got() int {
	return r.denied.all + r.denied.forbidden + r.allowed.forbidden + len(r.leaks)
}

func try(t *testing.T, r *row, h *e2etest.Home, jailed bool, flags ...string) *result {
	t.Helper()
	on := hosts
	if r.wide {
		on = everywhere
	}
	x := &trial{t: t, row: r, home: h, jailed: jailed, allowed: listen(t, on), denied: listen(t, on), waited: make(chan struct{})}
	x.permit(hosts...)
	if r.wire {
		x.cable()
	}
	if r.prepare != nil {
		r.prepare(x)
	}
	x.flags = append(x.flags, flags...)
	x.run()
	for _, end := range x.ends {
		end()
	}
	x.result.allowed.add(x.allowed.settled(t))
	x.result.denied.add(x.denied.settled(t))
	return &x.result
}

// permit allows the allowed receiver on these addresses, of which the second
// only if the row wants that.
func (x *trial) permit(hosts ...string) {
	x.allow = []string{"--allow", x.allowed.addr(hosts[0])}
	if x.row.v6 || x.row.wire {
		x.allow = append(x.allow, "--allow", x.allowed.addr(hosts[1]))
	}
}

// command is the helper's, behind netjail if it is jailed.
func (x *trial) command() *exec.Cmd {
	args := []string{helper(x.t), x.row.name, strconv.Itoa(x.allowed.port), strconv.Itoa(x.denied.port)}
	if x.jailed {
		jail := []string{e2etest.Bin(x.t), "--keep-fd", "3"}
		if !x.asks {
			jail = append(jail, "--no-prompt")
		}
		args = slices.Concat(jail, x.allow, x.flags, []string{"--"}, args)
	}
	args = append(slices.Clone(x.wrap), args...)
	cmd := x.home.Command()
	cmd.Path, cmd.Args = args[0], args
	cmd.Env = slices.Concat(x.home.Env, x.env, []string{"ESCAPE_NETJAIL=" + e2etest.Bin(x.t), "ESCAPE_SELF=" + helper(x.t)})
	return cmd
}

// run runs the helper and does what it asks for, until nobody has its standard
// output any more.
func (x *trial) run() {
	x.t.Helper()
	out, stdout := x.pipe()
	answers, reply := x.pipe()
	defer reply.Close()
	var stderr bytes.Buffer
	x.cmd, x.reply = x.command(), reply
	x.cmd.Stdout, x.cmd.Stderr = stdout, &stderr
	x.cmd.WaitDelay = time.Second // an orphan may have it
	x.cmd.ExtraFiles = []*os.File{answers}
	if x.stdin != nil {
		x.cmd.Stdin = x.stdin
	}
	if err := x.cmd.Start(); err != nil {
		x.t.Fatal(err)
	}
	stdout.Close()
	answers.Close()
	go func() {
		_ = x.cmd.Wait()
		close(x.waited)
	}()
	patience := patience
	if continues() { // and answers so what is never answered
		patience = 15 * time.Second
	}
	_ = out.SetReadDeadline(time.Now().Add(patience))
	for lines := bufio.NewScanner(out); lines.Scan(); {
		x.line(lines.Text())
	}
	out.Close()
	select {
	case <-x.waited:
	case <-time.After(patience):
		_ = x.cmd.Process.Kill()
		if !continues() {
			x.t.Error("the helper does not end")
		}
		<-x.waited
	}
	x.t.Logf("jailed %v: %s%s", x.jailed, stderr.String(), strings.Join(x.result.notes, "; "))
}

func (x *trial) pipe() (r, w *os.File) {
	r, w, err := os.Pipe()
	if err != nil {
		x.t.Fatal(err)
	}
	return r, w
}

func (x *trial) line(text string) {
	kind, rest, _ := strings.Cut(text, " ")
	switch kind {
	case "LEAK":
		x.result.leaks = append(x.result.leaks, rest)
	case "NOTE":
		x.result.notes = append(x.result.notes, rest)
	case "WIRE":
		c := &x.result
		if _, err := fmt.Sscan(rest, &c.denied.all, &c.allowed.all, &c.allowed.trick); err != nil {
			x.t.Errorf("the wire says %q: %v", rest, err)
		}
	case "DONE":
		x.result.done = true
	case "ASK":
		x.serve(rest)
		fmt.Fprintln(x.reply)
	default:
		if x.jailed && (continues() || x.row.pasta && slices.Contains(x.flags, "netns")) { // what it tries is strange there
			x.result.notes = append(x.result.notes, text)
			return
		}
		x.t.Errorf("jailed %v: %s", x.jailed, text)
	}
}

// serve does what the helper has asked for.
func (x *trial) serve(what string) {
	switch verb, arg, _ := strings.Cut(what, " "); verb {
	case "connect":
		for _, host := range hosts {
			if c, err := net.DialTimeout("tcp", net.JoinHostPort(host, arg), patience); err == nil {
				defer c.Close()
			}
		}
	case "revoke":
		x.revoke()
	case "kill":
		if x.jailed {
			_ = x.cmd.Process.Kill()
			select {
			case <-x.waited:
			case <-time.After(patience):
				x.t.Error("the supervisor does not die")
			}
		}
	default:
		x.t.Errorf("asked for %q", what)
	}
}
