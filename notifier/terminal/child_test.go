package terminal

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/notifier"
)

// childEnv makes the test binary the program on the terminal: the leader of a
// session whose terminal is its standard input. It reads commands from
// descriptor 3 and reports on descriptor 4.
const childEnv = "NETJAIL_TEST_TERMINAL_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "front":
		runFront()
		os.Exit(0)
	case "idle": // a process group to give the terminal to
		io.Copy(io.Discard, os.NewFile(3, "until closed"))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// front is the state of the program on the terminal.
type front struct {
	p       *Prompter
	report  *os.File
	cancels map[string]context.CancelCauseFunc
}

func runFront() {
	signal.Ignore(syscall.SIGHUP)
	f := &front{report: os.NewFile(4, "report"), cancels: make(map[string]context.CancelCauseFunc)}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTSTP)
	go func() {
		for s := range signals {
			f.say("signal %v", s)
		}
	}()
	log := slog.New(slog.NewTextHandler(logLines{f}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	f.p = New(os.Stdin, Options{NoColor: true, Log: log})
	commands := bufio.NewScanner(os.NewFile(3, "commands"))
	for commands.Scan() {
		word, arg, _ := strings.Cut(commands.Text(), " ")
		f.do(word, arg)
	}
}

// logLines reports what the prompter logs.
type logLines struct{ f *front }

func (l logLines) Write(b []byte) (int, error) {
	_, msg, _ := strings.Cut(strings.TrimSpace(string(b)), "msg=")
	l.f.say("log %s", strings.ReplaceAll(msg, `"`, ""))
	return len(b), nil
}

func (f *front) say(format string, args ...any) {
	fmt.Fprintf(f.report, format+"\n", args...)
}

func (f *front) do(word, arg string) {
	switch word {
	case "ask":
		ctx, cancel := context.WithCancelCause(context.Background())
		id, _, _ := strings.Cut(arg, " ")
		f.cancels[id] = cancel
		f.start(ctx, ask(arg))
	case "update":
		f.p.Update(ask(arg))
	case "cancel":
		f.cancels[arg](notifier.ErrAnswered)
	case "suspend":
		f.p.Suspend()
		f.say("suspended")
	case "resume":
		f.p.Resume()
	case "background":
		f.background()
	case "foreground":
		f.say("foreground: %v", setForeground(unix.Getpgrp()))
	}
}

// ask returns the question of a command: its id, and for another one than the
// usual "named", or how many hosts a summary lists, and how many calls wait.
func ask(arg string) notifier.Question {
	words := append(strings.Fields(arg), "", "")
	q := testQuestion()
	switch n, err := strconv.Atoi(words[1]); {
	case words[1] == "named":
		q = namedQuestion()
	case err == nil:
		q = summaryQuestion(n)
	}
	if n, err := strconv.Atoi(words[2]); err == nil {
		q.Waiting = n
	}
	q.ID = words[0]
	return q
}

// start asks q, and returns when the prompter knows it.
func (f *front) start(ctx context.Context, q notifier.Question) {
	over := make(chan struct{})
	go func() {
		f.ask(ctx, q)
		close(over)
	}()
	for known := false; !known; {
		f.p.mu.Lock()
		known = f.p.sessions[q.ID] != nil
		f.p.mu.Unlock()
		select {
		case <-over:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

func (f *front) ask(ctx context.Context, q notifier.Question) {
	a, err := f.p.Ask(ctx, q)
	switch {
	case err != nil:
		f.say("end %s: %v", q.ID, err)
	case q.Summary():
		f.say("answer %s: %v %v through %d review %v by %s", q.ID, a.Verdict, a.Lifetime, a.Through, a.Review, a.By)
	default:
		f.say("answer %s: %v %v %v by %s", q.ID, a.Verdict, a.Lifetime, a.Dest, a.By)
	}
}

// background gives the terminal to another process group.
func (f *front) background() {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"=idle")
	r, w, err := os.Pipe()
	if err != nil {
		f.say("background: %v", err)
		return
	}
	cmd.ExtraFiles = []*os.File{r}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		f.say("background: %v", err)
		return
	}
	_ = w // held open until this process ends
	f.say("background: %v", setForeground(cmd.Process.Pid))
}

func setForeground(group int) (err error) {
	e := unstoppable(func() { err = unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, group) })
	if err == nil {
		err = e
	}
	return err
}

func testQuestion() notifier.Question {
	return notifier.Question{ID: "1", App: "curl", Exe: "/usr/bin/curl", PID: 1234, Command: "curl http://x", Dest: mustParse("tcp://192.0.2.7:443"), Waiting: 1}
}
