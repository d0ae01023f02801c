package cli_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/netjail/netjail/cmd/netjail/cli"
	"github.com/netjail/netjail/cmd/netjail/doctor"
	"github.com/netjail/netjail/daemon/guard/netns"
	"github.com/netjail/netjail/daemon/jail"
)

func TestMain(m *testing.M) {
	netjail := func() { os.Exit(cli.Run(context.Background(), os.Args, os.Stdout, os.Stderr)) }
	testscript.Main(m, map[string]func(){"netjail": netjail, jail.SuccessorName: netjail, netns.Name: netjail, doctor.HelperName: netjail})
}

// TestScripts runs the scripts in testdata/script, which show the command line
// as people use it. Each has a home and a daemon of its own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                filepath.Join("testdata", "script"),
		RequireUniqueNames: true,
		Setup:              setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   exits,
			"fits":    fits,
			"restart": restart,
		},
	})
}

func setup(e *testscript.Env) error {
	run := filepath.Join(e.WorkDir, "run")
	if err := os.Mkdir(run, 0o700); err != nil {
		return err
	}
	e.Setenv("HOME", e.WorkDir)
	e.Setenv("XDG_RUNTIME_DIR", run)
	e.Setenv("XDG_CONFIG_HOME", filepath.Join(e.WorkDir, ".config"))
	e.Setenv("RULES", filepath.Join(e.WorkDir, ".config", "netjail", "rules"))
	e.Defer(func() {
		if err := stopDaemon(run); err != nil {
			e.T().Log(err)
			e.T().FailNow()
		}
	})
	return nil
}

// stopDaemon ends the daemon of a runtime directory, if there is one, and
// waits until it has let go of its lock.
func stopDaemon(run string) error {
	f, err := os.Open(filepath.Join(run, "netjail", "lock"))
	if err != nil {
		return nil
	}
	defer f.Close()
	text, err := os.ReadFile(f.Name())
	if err != nil {
		return err
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			return nil
		}
		if pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
	}
	return errors.New("the daemon does not end")
}

// restart is "restart": the daemon ends, and the next command starts another.
func restart(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: restart")
	}
	ts.Check(stopDaemon(ts.Getenv("XDG_RUNTIME_DIR")))
}

// exits is "exits CODE COMMAND...": the command must exit with that code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v: %v", args[1:], err)
	}
	if got != want {
		ts.Fatalf("%v exits with %d, want %d", args[1:], got, want)
	}
}

// fits is "fits COLUMNS LINES": what was printed last fits on that screen.
func fits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: fits COLUMNS LINES")
	}
	columns, err := strconv.Atoi(args[0])
	ts.Check(err)
	rows, err := strconv.Atoi(args[1])
	ts.Check(err)
	text := strings.TrimSuffix(ts.ReadFile("stdout"), "\n")
	lines := strings.Split(text, "\n")
	if text == "" || len(lines) > rows {
		ts.Fatalf("%d lines, want 1 to %d", len(lines), rows)
	}
	for i, line := range lines {
		if n := utf8.RuneCountInString(line); n > columns {
			ts.Fatalf("line %d has %d columns, want %d:\n%s", i+1, n, columns, line)
		}
	}
}
