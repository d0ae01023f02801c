package guards

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// kinds are the guards that have every packet.
var kinds = []string{"nft", "netns"}

// program returns the words of a command in a jail.
func (w *world) program(words ...string) []string {
	path := filepath.Join(w.dir, "program.py")
	if _, err := os.Stat(path); err != nil {
		b, err := os.ReadFile("testdata/program.py")
		if err != nil {
			w.t.Fatal(err)
		}
		w.write("program.py", string(b))
	}
	return append([]string{"python3", path}, words...)
}

// said runs a program in a jail and returns what it printed.
func (w *world) said(guard string, flags []string, words ...string) (string, e2etest.Result) {
	w.t.Helper()
	r := w.finish(w.jail(guard, append(append(flags, "--"), w.program(words...)...)...))
	if r.Code != 0 {
		w.t.Errorf("%q: code %d: %s", words, r.Code, r.Stderr)
	}
	return strings.TrimSpace(r.Stdout), r
}

func each(t *testing.T, f func(t *testing.T, w *world, guard string)) {
	for _, guard := range kinds {
		t.Run(guard, func(t *testing.T) { f(t, newWorld(t), guard) })
	}
}

// everything is what a program may do to reach somebody.
func everything(host string) (words []string) {
	for _, what := range []string{"tcp", "udp", "sendto", "sendmsg"} {
		words = append(words, what, host, strconv.Itoa(port))
	}
	return words
}

// TestReach: what rules allow arrives, from the first packet on, and nothing else.
func TestReach(t *testing.T) {
	each(t, func(t *testing.T, w *world, guard string) {
		allow := []string{"--no-prompt", "--allow", at(friend), "--allow", at(friend6)}
		got, _ := w.said(guard, allow, slices.Concat(everything(friend), everything(friend6))...)
		if strings.Count(got, " hello\n")+1 != 8 || !strings.HasSuffix(got, " hello") {
			t.Errorf("allowed:\n%s", got)
		}
		// pasta may connect twice for one that is slow.
		if n := w.counts.taken(); n["tcp "+friend] < 1 || n["udp "+friend] != 3 || n["tcp "+friend6] < 1 || n["udp "+friend6] != 3 || len(n) != 4 {
			t.Errorf("arrived: %v", n)
		}
		got, r := w.said(guard, allow, slices.Concat(everything(stranger), everything(stranger6))...)
		if strings.Contains(got, "hello") || !strings.Contains(r.Stderr, "netjail: denied: python3 connect tcp://"+at(stranger)) {
			t.Errorf("denied:\n%s\n%s", got, r.Stderr)
		}
		if n := w.counts.taken(); len(n) != 0 {
			t.Errorf("arrived: %v, want nothing", n)
		}
		r = w.finish(w.netjail("status", "--json"))
		if r.Code != 0 {
			t.Errorf("status: %d %s", r.Code, r.Stderr)
		}
	})
}

// TestElsewhere: the guard service does not hold what is in another network
// namespace than its own, and says so.
func TestElsewhere(t *testing.T) {
	w := newWorld(t)
	in := func(args ...string) e2etest.Result {
		w.t.Helper()
		return w.finish(w.user(append([]string{"unshare", "--map-current-user", "--net", filepath.Join(w.dir, "netjail")}, args...)...))
	}
	r := in("--guard", "nft", "--guard-socket", w.socket, "--no-prompt", "--", "true")
	if r.Code != 125 || !strings.Contains(r.Stderr, "another network namespace") || !strings.Contains(r.Stderr, "netjail: hint: ") {
		t.Errorf("%d %s", r.Code, r.Stderr)
	}
	if r := in("--guard-socket", w.socket, "--no-prompt", "--", "true"); r.Code != 0 {
		t.Errorf("%d %s, want another guard", r.Code, r.Stderr)
	}
	// Where it does hold, it is taken unasked.
	if r := w.finish(w.netjail("--guard-socket", w.socket, "--no-prompt", "--", filepath.Join(w.dir, "netjail"), "self")); r.Code != 0 || !strings.Contains(r.Stdout, "nft") {
		t.Errorf("%d %s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// TestStatus: the guard of a jail, and what it covers, are shown.
func TestStatus(t *testing.T) {
	each(t, func(t *testing.T, w *world, guard string) {
		cmd := w.jail(guard, "--", "cat")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var r e2etest.Result
		e2etest.WaitFor(t, "the jail is there", func() bool {
			r = w.finish(w.netjail("status"))
			return strings.Contains(r.Stdout, "cat ")
		})
		if !strings.Contains(r.Stdout, "guard "+guard+" (the kernel refuses IP packets") {
			t.Errorf("status:\n%s", r.Stdout)
		}
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestNames: whatever call asks the name server is answered by the jail's
// resolver, as from the server.
func TestNames(t *testing.T) {
	each(t, func(t *testing.T, w *world, guard string) {
		names := w.nameServer()
		port := strconv.Itoa(port)
		got, _ := w.said(guard, []string{"--no-prompt", "--allow", "friend.test:" + port},
			"ask-sendto", "friend.test", port, "ask-sendmsg", "friend.test", port, "getaddrinfo", "friend.test", port,
			"ask-sendto", "stranger.test", port, "ask-sendmsg", "stranger.test", port, "getaddrinfo", "stranger.test", port,
			"sendmsg", friend, port, "tcp", friend, port, "tcp", stranger, port)
		want := `ask-sendto friend.test 192.0.2.2
ask-sendmsg friend.test 192.0.2.2
getaddrinfo friend.test 192.0.2.2
ask-sendto stranger.test rcode 3
ask-sendmsg stranger.test rcode 3
getaddrinfo stranger.test [Errno -2] Name or service not known
sendmsg 192.0.2.2 hello
tcp 192.0.2.2 hello
tcp 192.0.2.3 EACCES`
		if got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		if n := names(); n["friend.test."] < 3 || len(n) != 1 {
			t.Errorf("the name server was asked for %v, want friend.test alone", n)
		}
	})
}

// line reads a line that a running program prints.
func line(t *testing.T, out *bufio.Reader) string {
	t.Helper()
	text, err := out.ReadString('\n')
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return strings.TrimSpace(text)
}

// started starts a command, whose output is read line by line. It ends with the
// test.
func (w *world) started(cmd *exec.Cmd) *bufio.Reader {
	w.t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	log := filepath.Join(w.t.TempDir(), "stderr")
	f, err := os.Create(log)
	if err != nil {
		w.t.Fatal(err)
	}
	cmd.Stderr = f
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if w.t.Failed() {
			b, _ := os.ReadFile(log)
			w.t.Logf("%v says:\n%s", cmd.Args[len(cmd.Args)-3:], b)
		}
		f.Close()
	})
	return bufio.NewReader(out)
}

// asker is somebody who is asked, and answers.
type asker struct {
	in  io.Writer
	out *bufio.Reader
}

// asker starts the front end that comes with netjail.
func (w *world) asker() *asker {
	w.t.Helper()
	if r := w.finish(w.netjail("--no-prompt", "--", "true")); r.Code != 0 { // which starts the daemon
		w.t.Fatal(r.Stderr)
	}
	b, err := os.ReadFile("../../frontend/ask.py")
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := w.user("python3", w.write("ask.py", string(b)))
	in, err := cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	a := &asker{in, w.started(cmd)}
	if got := line(w.t, a.out); got != "netjail: waiting for questions" {
		w.t.Fatal(got)
	}
	return a
}

// answer waits for a question and answers it. It returns the question.
func (a *asker) answer(t *testing.T, verdict string) string {
	t.Helper()
	q, err := a.out.ReadString('?')
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(a.in, verdict+"\n"); err != nil {
		t.Fatal(err)
	}
	return q
}

// TestQuestions: who does not wait for a connection goes on while people are
// asked, and is connected, or refused, when they have answered. So it is with
// messages.
func TestQuestions(t *testing.T) {
	each(t, func(t *testing.T, w *world, guard string) {
		person := w.asker()
		port := strconv.Itoa(port)
		for _, tt := range []struct {
			what, host, answer string
			lines              []string
			arrives            string
		}{
			{"nowait", friend, "allow", []string{"nowait 192.0.2.2 connected to 192.0.2.2"}, "tcp " + friend},
			{"nowait", stranger, "deny", []string{"nowait 192.0.2.3 ECONN"}, ""},
			{"nowait", friend, "deny", []string{"nowait 192.0.2.2 ECONN"}, ""},
			{"nowait", friend, "allow", []string{"nowait 192.0.2.2 connected to 192.0.2.2"}, "tcp " + friend},
			{"tcp", friend6, "allow", []string{"tcp 2001:db8::2 hello"}, "tcp " + friend6},
			{"messages", friend, "allow", []string{"messages 192.0.2.2 hello"}, "udp " + friend},
			{"messages", stranger, "deny", []string{"messages 192.0.2.3 none"}, ""},
		} {
			out := w.started(w.jail(guard, append([]string{"--"}, w.program(tt.what, tt.host, port)...)...))
			if tt.what == "nowait" { // it goes on before anybody has answered
				if got := line(t, out); got != "at once EINPROGRESS quick" {
					t.Errorf("got %q", got)
				}
			}
			if q := person.answer(t, tt.answer); !strings.Contains(q, tt.host) {
				t.Errorf("%s: asked %q", tt.what, q)
			}
			for _, want := range tt.lines {
				if got := line(t, out); !strings.HasPrefix(got, want) {
					t.Errorf("%s, %s: got %q, want %q", tt.what, tt.answer, got, want)
				}
			}
			n := w.counts.taken()
			if tt.arrives == "" && len(n) > 0 || tt.arrives != "" && (n[tt.arrives] == 0 || len(n) != 1) {
				t.Errorf("%s %s, %s: arrived: %v, want %q", tt.what, tt.host, tt.answer, n, tt.arrives)
			}
		}
	})
}

// TestRevoked: a connection that no rule allows any more is ended, at both ends,
// and so is one that it allowed in a successor's jail.
func TestRevoked(t *testing.T) {
	each(t, func(t *testing.T, w *world, guard string) {
		for _, way := range []struct {
			name  string
			words func(words []string) []string
			how   []string
		}{
			{"removed", func(words []string) []string { return words }, []string{"rules", "remove", "python3", "tcp://" + at(friend)}},
			{"denied", func(words []string) []string { return words }, []string{"rules", "add", "python3", "deny", "tcp://" + at(friend)}},
			{"left behind", func(words []string) []string {
				return append([]string{"sh", "-c", `"$@" & exit 0`, "sh"}, words...)
			}, []string{"rules", "remove", "python3", "tcp://" + at(friend)}},
		} {
			t.Run(way.name, func(t *testing.T) {
				if r := w.finish(w.netjail("rules", "add", "python3", "allow", "tcp://"+at(friend))); r.Code != 0 {
					t.Fatal(r.Stderr)
				}
				if r := w.finish(w.netjail("rules", "add", "python3", "allow", "tcp://"+at(friend6))); r.Code != 0 {
					t.Fatal(r.Stderr)
				}
				port := strconv.Itoa(port)
				flags := []string{"--no-prompt", "--as", "python3", "--"}
				out := w.started(w.jail(guard, append(flags, way.words(w.program("hold", friend, port))...)...))
				control := w.started(w.jail(guard, append(flags, w.program("hold", friend6, port)...)...))
				for _, o := range []*bufio.Reader{out, control} {
					if got := line(t, o); got != "held" {
						t.Fatal(got)
					}
				}
				ended, others := "end of tcp "+friend, "end of tcp "+friend6
				before, controls := w.counts.of(ended), w.counts.of(others) // pasta may have connected twice
				if r := w.finish(w.netjail(way.how...)); r.Code != 0 {
					t.Fatal(r.Stderr)
				}
				if got := line(t, out); !strings.HasPrefix(got, "hold 192.0.2.2 E") && got != "hold 192.0.2.2 ended" {
					t.Errorf("got %q", got)
				}
				e2etest.WaitFor(t, "the other end is told", func() bool { return w.counts.of(ended) > before })
				if n := w.counts.of(others) - controls; n != 0 {
					t.Errorf("%d other connections have ended", n)
				}
				_ = w.finish(w.netjail("rules", "remove", "python3", "deny", "tcp://"+at(friend)))
			})
		}
	})
}

// TestLeftBehind: what a program leaves behind is guarded as before.
func TestLeftBehind(t *testing.T) {
	each(t, func(t *testing.T, w *world, guard string) {
		names := w.nameServer()
		goOn := filepath.Join(w.home.Dir, "go-on")
		out := filepath.Join(w.home.Dir, "out")
		port := strconv.Itoa(port)
		words := slices.Concat([]string{"wait", goOn}, everything(friend), everything(stranger), []string{"ask-sendmsg", "friend.test", port})
		cmd := w.jail(guard, append([]string{"--no-prompt", "--allow", at(friend), "--allow", "friend.test", "--",
			"sh", "-c", `out=$1; shift; ("$@" >"$out.part" 2>&1; mv "$out.part" "$out") >/dev/null 2>&1 & exit 0`, "sh", out}, w.program(words...)...)...)
		if r := w.finish(cmd); r.Code != 0 {
			t.Fatalf("%d %s", r.Code, r.Stderr)
		}
		if err := os.WriteFile(goOn, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		e2etest.WaitFor(t, "what was left behind ends", func() bool { _, err := os.Stat(out); return err == nil })
		b, _ := os.ReadFile(out)
		if strings.Count(string(b), "192.0.2.2 hello") != 4 || !strings.Contains(string(b), "ask-sendmsg friend.test 192.0.2.2") || strings.Count(string(b), "hello") != 4 {
			t.Errorf("it says\n%s", b)
		}
		if n := w.counts.taken(); n["tcp "+friend] != 1 || n["udp "+friend] != 3 || len(n) != 2 {
			t.Errorf("arrived: %v", n)
		}
		if n := names(); n["friend.test."] == 0 {
			t.Errorf("the name server was asked for %v", n)
		}
	})
}

// TestListens: others reach a port that a rule allows to listen at, and no other.
func TestListens(t *testing.T) {
	each(t, func(t *testing.T, w *world, guard string) {
		for _, tt := range []struct{ allow, port string }{{"listen+tcp://0.0.0.0:7001", "7001"}, {"listen+tcp://0.0.0.0", "0"}} {
			out := w.started(w.jail(guard, append([]string{"--no-prompt", "--allow", tt.allow, "--"}, w.program("listen", "0.0.0.0", tt.port)...)...))
			at, ok := strings.CutPrefix(line(t, out), "listens ")
			if !ok {
				t.Fatalf("%s: got %q", tt.allow, at)
			}
			w.dialHost(at)
			if got := line(t, out); got != "listen 0.0.0.0 accepted" {
				t.Errorf("%s: %q", tt.allow, got)
			}
		}
		if got, _ := w.said(guard, []string{"--no-prompt"}, "listen", "0.0.0.0", "7002"); got != "listen 0.0.0.0 EACCES" {
			t.Errorf("got %q", got)
		}
	})
}

// TestKilled: without netjail's supervisor, or when the guard service is stopped, a
// jail is shut. What is left of one when the service is killed is no more open than
// it was: messages go where they could before.
func TestKilled(t *testing.T) {
	each(t, func(t *testing.T, w *world, guard string) {
		for _, tt := range []struct {
			name string
			kill func(supervisor *exec.Cmd)
			left int // messages that arrive at the friend's
		}{
			{"supervisor", func(s *exec.Cmd) {
				_ = s.Process.Kill()
				_ = s.Wait()
				w.shut()
			}, 0},
			{"service stopped", func(*exec.Cmd) { w.stop(syscall.SIGTERM) }, 0},
			{"service killed", func(*exec.Cmd) { w.stop(syscall.SIGKILL) }, 1},
		} {
			if guard != "nft" && strings.HasPrefix(tt.name, "service") {
				continue
			}
			t.Run(tt.name, func(t *testing.T) {
				goOn, out := filepath.Join(w.home.Dir, "go-on "+tt.name), filepath.Join(w.home.Dir, "out "+tt.name)
				// A session of its own, so that it outlives the program that is killed.
				script := `out=$1; shift; setsid "$@" >"$out" 2>&1 & echo started; wait`
				words := slices.Concat([]string{"wait", goOn}, everything(friend), everything(stranger))
				cmd := w.jail(guard, append([]string{"--no-prompt", "--allow", at(friend), "--", "sh", "-c", script, "sh", out}, w.program(words...)...)...)
				if got := line(t, w.started(cmd)); got != "started" {
					t.Fatal(got)
				}
				if r := w.finish(w.netjail("status")); !strings.Contains(r.Stdout, guard) { // and it has long begun
					t.Fatal(r.Stdout, r.Stderr)
				}
				tt.kill(cmd)
				if err := os.WriteFile(goOn, nil, 0o644); err != nil {
					t.Fatal(err)
				}
				e2etest.WaitFor(t, "the program ends", func() bool {
					b, _ := os.ReadFile(out)
					return strings.Count(string(b), "\n") == 8 || !w.runs(out)
				})
				if n := w.counts.taken(); n["udp "+friend] != tt.left || len(n) != tt.left {
					b, _ := os.ReadFile(out)
					t.Errorf("arrived: %v, want %d at the friend's; it says %s", n, tt.left, b)
				}
				if w.service.ProcessState != nil {
					w.serve()
				}
			})
		}
	})
}

// runs says whether a process of the user's has a file open.
func (w *world) runs(path string) bool {
	out, _ := exec.Command("sh", "-c", fmt.Sprintf("ls -l /proc/[0-9]*/fd 2>/dev/null | grep -F %q", path)).Output()
	return len(out) > 0
}

// TestDesktop: a jail with a network of its own still has the display and the session
// bus, which are local sockets with paths.
func TestDesktop(t *testing.T) {
	each(t, func(t *testing.T, w *world, guard string) {
		for _, name := range []string{"Xvfb", "xdpyinfo", "dbus-daemon", "dbus-send"} {
			e2etest.Need(t, name)
		}
		display := line(t, w.started(w.user("Xvfb", "-displayfd", "1", "-nolisten", "tcp", "-screen", "0", "100x100x8")))
		r := w.finish(w.jail(guard, "--no-prompt", "--", "xdpyinfo", "-display", ":"+display))
		if r.Code != 0 || !strings.Contains(r.Stdout, "name of display:    :"+display) {
			t.Errorf("xdpyinfo: %d %s%s", r.Code, r.Stdout, r.Stderr)
		}
		bus := line(t, w.started(w.user("dbus-daemon", "--session", "--nofork", "--print-address=1", "--address=unix:path="+filepath.Join(w.home.Dir, "bus"))))
		cmd := w.jail(guard, "--no-prompt", "--", "dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.ListNames")
		cmd.Env = append(cmd.Env, "DBUS_SESSION_BUS_ADDRESS="+bus)
		if r := w.finish(cmd); r.Code != 0 || !strings.Contains(r.Stdout, "org.freedesktop.DBus") {
			t.Errorf("dbus-send: %d %s%s", r.Code, r.Stdout, r.Stderr)
		}
	})
}
