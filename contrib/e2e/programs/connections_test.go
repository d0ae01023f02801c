package programs

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
	"github.com/netjail/netjail/daemon/api"
)

//go:embed testdata/holder.py
var holderPy string

// holder is a jailed program that has three connections over TCP, and one
// socket of UDP.
type holder struct {
	t      *testing.T
	cmd    *exec.Cmd
	in     io.Writer
	out    *bufio.Reader
	client *api.Client
	server string // of its connections
	ports  []string
}

// echoing answers all that comes, until the client leaves.
func echoing(c net.Conn) {
	defer c.Close()
	_, _ = io.Copy(c, c)
}

// newHolder starts one in the way that run says: with the program's own command
// in its place for "$@".
func newHolder(t *testing.T, run ...string) *holder {
	t.Helper()
	python := e2etest.Need(t, "python3")
	h := e2etest.NewHome(t)
	srv := e2etest.Serve(t, "127.0.0.1:0", echoing)
	u := listenUDP(t, "127.0.0.1:0")
	_, udpPort, _ := net.SplitHostPort(u.Addr())
	x := &holder{t: t, server: srv.Addr()}
	program := []string{python, "-c", holderPy, "localhost", strconv.Itoa(srv.Port()), udpPort}
	x.cmd = h.Command(slices.Concat([]string{"--no-prompt", "--as", "holder", "--allow", "127.0.0.1", "--"}, run, program)...)
	r, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	x.cmd.Stdin, x.cmd.Stdout, x.cmd.Stderr = r, w, os.Stderr
	x.in, x.out = in, bufio.NewReader(out)
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	w.Close()
	t.Cleanup(func() {
		in.Close()
		_ = x.cmd.Process.Kill()
		_ = x.cmd.Wait()
		_, _ = io.Copy(io.Discard, x.out) // until nothing is left of it
		out.Close()
	})
	x.ports = strings.Fields(x.line("ready"))
	if x.client, err = api.Dial(api.SocketPath(filepath.Join(h.Runtime(), "netjail")), nil); err != nil {
		t.Fatal(err)
	}
	if err := x.client.Listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.client.Close() })
	return x
}

// line reads what the program says after a word.
func (x *holder) line(word string) string {
	x.t.Helper()
	line, err := x.out.ReadString('\n')
	rest, ok := strings.CutPrefix(strings.TrimSpace(line), word)
	if err != nil || !ok {
		x.t.Fatalf("got %q, %v, want %s", line, err, word)
	}
	return strings.TrimSpace(rest)
}

func (x *holder) tell(format string, args ...any) {
	x.t.Helper()
	if _, err := fmt.Fprintf(x.in, format+"\n", args...); err != nil {
		x.t.Fatal(err)
	}
}

func (x *holder) call(op string, args, reply any) error {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.t.Context(), e2etest.Patience)
	defer cancel()
	return x.client.Call(ctx, op, args, reply)
}

// list returns the connections, in the order in which the program opened them,
// and what else is said of its jail.
func (x *holder) list() ([]api.Flow, api.JailConnections) {
	x.t.Helper()
	var c api.Connections
	if err := x.call(api.OpConnections, nil, &c); err != nil {
		x.t.Fatal(err)
	}
	if len(c.Jails) != 1 || c.Jails[0].App != "holder" {
		x.t.Fatalf("got %+v, want one jail", c.Jails)
	}
	list := c.Jails[0].Flows
	slices.SortFunc(list, func(a, b api.Flow) int {
		return slices.Index(x.ports, strconv.Itoa(int(a.Local.Port()))) - slices.Index(x.ports, strconv.Itoa(int(b.Local.Port())))
	})
	return list, c.Jails[0]
}

// four lists the connections, all of which are there.
func (x *holder) four() []api.Flow {
	x.t.Helper()
	list, jail := x.list()
	if len(list) != 4 || jail.Silent || jail.Problem != "" || jail.More != 0 || jail.Unseen != 0 {
		x.t.Fatalf("got %+v\n%+v, want four connections", list, jail)
	}
	return list
}

// jail is the id of the program's jail.
func (x *holder) jail() string {
	x.t.Helper()
	x.four()
	_, jail := x.list()
	return jail.Jail
}

// gone waits until nothing of the jail is left.
func (x *holder) gone() {
	x.t.Helper()
	if _, err := io.Copy(io.Discard, x.out); err != nil {
		x.t.Fatal(err)
	}
	e2etest.WaitFor(x.t, "the jail is gone", func() bool {
		var st api.Status
		return x.call(api.OpStatus, nil, &st) == nil && len(st.Jails) == 0
	})
}

// runs are the ways in which the program is run: below its supervisor, and
// left behind to another.
var runs = []struct {
	name string
	args []string
	code int // of the supervisor when the program is stopped
}{
	{"program", nil, 128 + int(syscall.SIGTERM)},
	{"left behind", []string{"sh", "-c", `exec 3<&0; "$@" <&3 & exit 0`, "sh"}, 0},
}

func TestConnections(t *testing.T) {
	for _, tt := range runs {
		t.Run(tt.name, func(t *testing.T) {
			x := newHolder(t, tt.args...)
			if tt.args != nil {
				if err := x.cmd.Wait(); err != nil {
					t.Fatal(err)
				}
			}
			x.described(x.four())
			x.counted()
			x.endOne()
		})
	}
}

// described compares the list with what the program has opened.
func (x *holder) described(list []api.Flow) {
	x.t.Helper()
	for i, f := range list {
		want := api.Flow{
			Network: "tcp", State: "ESTABLISHED", Known: true,
			ID: f.ID, Inode: f.Inode, PID: f.PID, Program: f.Program, Remote: f.Remote, Local: f.Local, Names: f.Names, Since: f.Since,
		}
		remote := x.server
		if i == 3 {
			want.Network, want.Known, remote = "udp", false, f.Remote.String()
		}
		if fmt.Sprint(f) != fmt.Sprint(want) {
			x.t.Errorf("got %+v\nwant %+v", f, want)
		}
		if f.ID == "" || f.Inode == 0 || f.PID != list[0].PID || !strings.HasPrefix(f.Program, "python3") ||
			f.Remote.String() != remote || strconv.Itoa(int(f.Local.Port())) != x.ports[i] ||
			!slices.Contains(f.Names, "localhost") || time.Since(f.Since) > e2etest.Patience {
			x.t.Errorf("got %+v", f)
		}
	}
}

// counted sends by the second connection.
func (x *holder) counted() {
	x.t.Helper()
	x.tell("send 1 1000")
	x.line("sent")
	x.tell("read 1")
	x.line("read")
	var list []api.Flow
	e2etest.WaitFor(x.t, "the echo has come", func() bool { list = x.four(); return list[1].Received == 1000 })
	for i, f := range list {
		want := uint64(0)
		if i == 1 {
			want = 1000
		}
		if f.Sent != want || f.Received != want {
			x.t.Errorf("connection %d: sent %d, received %d, want %d", i, f.Sent, f.Received, want)
		}
	}
}

// endOne ends the third connection, at which the program reads.
func (x *holder) endOne() {
	x.t.Helper()
	list, jail := x.list()
	x.tell("read 2")
	end := api.FlowEnd{Jail: jail.Jail, ID: list[2].ID}
	if err := x.call(api.OpEnd, end, nil); err != nil {
		x.t.Fatal(err)
	}
	if got := x.line("read"); got != "0" {
		x.t.Errorf("the program reads %s bytes, want the end", got)
	}
	for _, i := range []int{0, 1} {
		x.tell("send %d 10", i)
		x.line("sent")
	}
	x.tell("read 0")
	if got := x.line("read"); got != "10" {
		x.t.Errorf("another connection reads %s bytes, want 10", got)
	}
	x.tell("close 2")
	x.line("closed")
	wantNotFound(x.t, "a connection that is gone", x.call(api.OpEnd, end, nil))
	wantNotFound(x.t, "a jail that there is not", x.call(api.OpEnd, api.FlowEnd{Jail: "x", ID: end.ID}, nil))
}

func wantNotFound(t *testing.T, what string, err error) {
	t.Helper()
	var said *api.Error
	if !errors.As(err, &said) || said.Code != api.CodeNotFound {
		t.Errorf("%s: got %v, want %s", what, err, api.CodeNotFound)
	}
}

func TestStop(t *testing.T) {
	for _, tt := range runs {
		t.Run(tt.name, func(t *testing.T) {
			x := newHolder(t, tt.args...)
			jail := x.jail()
			if err := x.call(api.OpStop, api.JailStop{Jail: jail}, nil); err != nil {
				t.Fatal(err)
			}
			x.gone()
			_ = x.cmd.Wait()
			if got := x.cmd.ProcessState.ExitCode(); got != tt.code {
				t.Errorf("exit code %d, want %d", got, tt.code)
			}
			wantNotFound(t, "stopped again", x.call(api.OpStop, api.JailStop{Jail: jail}, nil))
		})
	}
}

// TestStopStubborn stops what ignores SIGTERM, in a session of its own.
func TestStopStubborn(t *testing.T) {
	x := newHolder(t, "sh", "-c", `trap '' TERM; exec 3<&0; setsid "$@" <&3 & wait`, "sh")
	begun := time.Now()
	if err := x.call(api.OpStop, api.JailStop{Jail: x.jail()}, nil); err != nil {
		t.Fatal(err)
	}
	x.gone()
	_ = x.cmd.Wait()
	if got := x.cmd.ProcessState.ExitCode(); got != 128+int(syscall.SIGKILL) || time.Since(begun) < 4*time.Second {
		t.Errorf("exit code %d after %v, want %d after five seconds", got, time.Since(begun), 128+int(syscall.SIGKILL))
	}
}

// TestSuspended stops a jail whose supervisor waits with its program.
func TestSuspended(t *testing.T) {
	x := newHolder(t)
	list := x.four()
	if err := syscall.Kill(list[0].PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var jail api.JailConnections
	e2etest.WaitFor(t, "it is suspended", func() bool { _, jail = x.list(); return jail.Silent && jail.Problem == "it is suspended" })
	if err := x.call(api.OpEnd, api.FlowEnd{Jail: jail.Jail, ID: list[0].ID}, nil); err == nil {
		t.Error("a connection of a suspended jail is said to be ended")
	}
	if err := x.call(api.OpStop, api.JailStop{Jail: jail.Jail}, nil); err != nil {
		t.Fatal(err)
	}
	x.gone()
}
