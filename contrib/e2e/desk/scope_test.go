package desk

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// TestScope changes what an answer is about before it is given.
func TestScope(t *testing.T) {
	for _, tt := range []struct {
		name, key string
		rules     []string
	}{
		{"until exit", "e", nil},
		{"always", "A", []string{"allow @any"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := e2etest.NewHome(t)
			one, two := listen(t), listen(t)
			s := newScreen(t, h)
			s.run("both", "netjail sh -c 'curl -s "+one.url()+" && curl -s "+two.url()+"'")
			s.question(h)
			s.keys("s")
			s.wait(`^> s\nnetjail: sh wants to connect to 127\.0\.0\.1 port \d+`)
			s.wait(`^  \[s\] about: 127\.0\.0\.1  \(anything\)$`)
			s.wait(`^  always writes: netjail rules add sh allow @any \(or deny; 1 hour: --for 1h\)$`)
			s.question(h)
			one.wantReached(t, "before the answer", 0)
			s.keys(tt.key)
			s.ended("both", 0)
			s.wait("^> " + tt.key + "\nnetjail: allowed anything ")
			one.wantReached(t, "after the answer", 1)
			two.wantReached(t, "after the answer", 1)
			if n := s.count(asks); n != 2 {
				t.Errorf("asked %d times, want once and once more for the key", n)
			}
			wantRules(t, h, tt.rules...)
		})
	}
}

// manyAtOnce connects to many ports at the same time.
const manyAtOnce = `import socket, sys, threading
threads = [threading.Thread(target=socket.create_connection, args=(("127.0.0.1", int(p)),)) for p in sys.argv[1:]]
for t in threads: t.start()
for t in threads: t.join()
`

// TestStorm answers forty questions by a few keys: all but the first come as a
// list. What they allow until the program exits is written nowhere.
func TestStorm(t *testing.T) {
	e2etest.Need(t, "python3")
	h := e2etest.NewHome(t)
	s := newScreen(t, h)
	writeFile(t, filepath.Join(h.Dir, "many.py"), manyAtOnce)
	const n = 40
	var servers []*server
	ports := ""
	for range n {
		srv := listen(t)
		servers = append(servers, srv)
		ports += fmt.Sprint(" ", srv.Port())
	}
	s.run("storm", "netjail python3 many.py"+ports)
	e2etest.WaitFor(t, "all is asked", func() bool { return len(statusOf(t, h).Questions) > n })
	for _, srv := range servers {
		srv.wantReached(t, "before an answer", 0)
	}
	keys := 0
	for s.count("storm=0") == 0 {
		e2etest.WaitFor(t, "a question or the end", func() bool {
			return strings.HasSuffix(s.text(), "\n>") || s.count("storm=0") == 1
		})
		if s.count("storm=0") == 1 {
			break
		}
		keys++
		s.keys("e")
		e2etest.WaitFor(t, "the key is taken", func() bool { return s.count("netjail: allowed ") == keys })
	}
	if keys < 5 || keys > 7 {
		t.Errorf("%d keys, want four for the first questions and one for the list, or two if it was told late", keys)
	}
	s.wait(`^netjail: python3 wants 3\d more hosts$`)
	s.wait(`^> e\nnetjail: allowed all until python3 exits$`)
	for _, srv := range servers {
		srv.wantReached(t, "in the end", 1)
	}
	e2etest.WaitFor(t, "what holds until exit is gone", func() bool { return len(rulesOf(t, h)) == 0 })
	if files, _ := os.ReadDir(h.Rules()); len(files) != 0 {
		t.Errorf("there are rule files: %v", files)
	}
	s.sane()
}

// TestResizeAtQuestion makes the window narrower while a question is open.
func TestResizeAtQuestion(t *testing.T) {
	h := e2etest.NewHome(t)
	srv := listen(t)
	s := newScreen(t, h)
	s.run("curl", "netjail curl -s "+srv.url())
	s.question(h)
	s.tmux("resize-window", "-x", "50", "-y", "30")
	s.wait(`^  \[e\] until curl exits  \[E\] until curl exits$`)
	s.question(h)
	s.tmux("resize-window", "-x", "30", "-y", "40")
	s.wait(`^  \[E\] deny until curl exits$`)
	s.question(h)
	s.tmux("resize-window", "-x", "100", "-y", "40")
	e2etest.WaitFor(t, "it is wide again", func() bool { return s.count("  [h] 1 hour  [A] always") == 2 })
	s.question(h)
	srv.wantReached(t, "before the answer", 0)
	s.keys("a")
	s.ended("curl", 0)
	srv.wantReached(t, "after the answer", 1)
	s.sane()
}

// TestAgain brings a question back that has been printed over.
func TestAgain(t *testing.T) {
	h := e2etest.NewHome(t)
	srv := listen(t)
	s := newScreen(t, h)
	s.run("run", "netjail sh -c 'curl -s "+srv.url()+" & until [ -e go ]; do sleep 0.02; done; seq 1000 1100; wait'")
	s.question(h)
	writeFile(t, filepath.Join(h.Dir, "go"), "")
	s.wait(`^1100\z`)
	s.keys("Enter")
	s.question(h)
	s.keys("?")
	s.wait(`^  a key answers; nothing is answered by Enter`)
	s.question(h)
	if n := s.count(asks); n != 3 {
		t.Errorf("asked %d times, want once and once more for each key", n)
	}
	srv.wantReached(t, "before the answer", 0)
	s.keys("d")
	s.ended("run", 0)
	srv.wantReached(t, "after the answer", 0)
}

// TestDaemonKilledAtQuestion kills who asks: the next daemon's question comes in
// the place of the one that nobody takes an answer to any more.
func TestDaemonKilledAtQuestion(t *testing.T) {
	h := e2etest.NewHome(t)
	srv := listen(t)
	s := newScreen(t, h)
	s.run("curl", "netjail curl -s "+srv.url())
	s.question(h)
	if err := syscall.Kill(h.DaemonPID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.wait(`^> *\nnetjail: question closed$`)
	e2etest.WaitFor(t, "it is asked again", func() bool { return s.count(asks) == 2 })
	s.question(h)
	srv.wantReached(t, "before the answer", 0)
	s.keys("A")
	s.ended("curl", 0)
	s.wait(`^> A\nnetjail: allowed 127\.0\.0\.1 always, rule written$`)
	srv.wantReached(t, "after the answer", 1)
	wantRules(t, h, "allow tcp://"+srv.Addr())
	s.sane()
}

// inRaw takes the terminal over and shows each key that it reads, and then
// whether somebody else has changed the modes.
const inRaw = `import socket, sys, termios, threading, tty
before = termios.tcgetattr(0)
tty.setraw(0)
raw = termios.tcgetattr(0)
t = threading.Thread(target=socket.create_connection, args=(("127.0.0.1", int(sys.argv[1])),))
t.start()
print("ready", end="\r\n", flush=True)
while (key := sys.stdin.read(1)) != "q":
    print("key:" + key, end="\r\n", flush=True)
print("same" if termios.tcgetattr(0) == raw else "changed", end="\r\n", flush=True)
termios.tcsetattr(0, termios.TCSADRAIN, before)
t.join()
`

// TestRaw leaves a program alone that has taken the terminal over, and asks when
// it has given it back.
func TestRaw(t *testing.T) {
	e2etest.Need(t, "python3")
	h := e2etest.NewHome(t)
	srv := listen(t)
	s := newScreen(t, h)
	writeFile(t, filepath.Join(h.Dir, "raw.py"), inRaw)
	s.run("raw", fmt.Sprintf("netjail python3 -u raw.py %d", srv.Port()))
	s.wait("^ready$")
	waitQuestion(t, h)
	s.tmux("resize-window", "-x", "90", "-y", "30")
	for _, key := range []string{"A", "e", "s"} {
		s.keys(key)
		s.wait("^key:" + key + "$")
	}
	if n := s.count(asks); n != 0 {
		t.Errorf("%d questions on the program's screen", n)
	}
	srv.wantReached(t, "while the program has the terminal", 0)
	waitQuestion(t, h)
	s.keys("q")
	s.wait("^same$")
	s.question(h)
	s.keys("a")
	s.ended("raw", 0)
	srv.wantReached(t, "after the answer", 1)
	s.sane()
}

// TestNoColor: a question has escape sequences only where they are wanted.
func TestNoColor(t *testing.T) {
	for _, tt := range []struct {
		env  string
		want bool
	}{{"NO_COLOR=", true}, {"NO_COLOR=1", false}, {"TERM=dumb", false}} {
		t.Run(tt.env, func(t *testing.T) {
			h := e2etest.NewHome(t)
			srv := listen(t)
			s := newScreen(t, h)
			raw := filepath.Join(h.Dir, "raw")
			s.tmux("pipe-pane", "cat > "+raw)
			s.run("curl", "echo begun; "+tt.env+" netjail curl -s "+srv.url())
			s.question(h)
			s.keys("s") // a line above, and one below
			s.wait(`\(anything\)$`)
			s.question(h)
			s.keys("d")
			s.ended("curl", 7)
			s.tmux("pipe-pane")
			b, err := os.ReadFile(raw)
			if err != nil {
				t.Fatal(err)
			}
			_, block, ok := strings.Cut(string(b), "begun\r\n")
			block, _, ok2 := strings.Cut(block, "netjail: denied anything once")
			if !ok || !ok2 || !strings.Contains(block, asks) {
				t.Fatalf("no question in %q", b)
			}
			if got := strings.Contains(block, "\x1b"); got != tt.want {
				t.Errorf("escape sequences: %v, want %v, in %q", got, tt.want, block)
			}
		})
	}
}
