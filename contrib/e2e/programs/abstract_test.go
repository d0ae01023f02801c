package programs

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// TestAbstractSockets: clients of an X server and of a session bus outside of the
// jail that have abstract addresses alone work as without netjail, also where
// Landlock keeps the jail from such sockets.
func TestAbstractSockets(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		env  func(t *testing.T, h *e2etest.Home) string
	}{
		{"X11", []string{"xwininfo", "-root"}, abstractDisplay},
		{"D-Bus", []string{"dbus-send", "--print-reply", "--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.ListNames"}, abstractBus},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e2etest.Need(t, tt.args[0])
			h := e2etest.NewHome(t)
			h.Env = append(h.Env, tt.env(t, h))
			bare := h.Finish(native(h, tt.args...))
			if bare.Code != 0 || bare.Stdout == "" {
				t.Fatalf("without netjail: code %d, stderr:\n%s", bare.Code, bare.Stderr)
			}
			flags := [][]string{{"--no-scope", "abstract"}}
			for _, g := range h.Guards() {
				flags = append(flags, []string{"--guard", g})
			}
			for _, f := range flags {
				r := h.Run(append(append([]string{"--no-prompt"}, f...), tt.args...)...)
				if r.Code != 0 || lines(r.Stdout) != lines(bare.Stdout) {
					t.Errorf("%v: code %d, stdout:\n%s\nwant code 0, stdout like:\n%s\nstderr:\n%s", f, r.Code, r.Stdout, bare.Stdout, r.Stderr)
				}
			}
		})
	}
}

// lines counts them: unique names and process ids differ.
func lines(s string) int { return strings.Count(s, "\n") }

// abstractDisplay starts an X server that listens on no path and no port.
func abstractDisplay(t *testing.T, _ *e2etest.Home) string {
	t.Helper()
	cmd := exec.Command(e2etest.Need(t, "Xvfb"), "-displayfd", "3", "-screen", "0", "640x480x24", "-nolisten", "tcp", "-nolisten", "unix")
	return "DISPLAY=:" + said(t, cmd)
}

// abstractBus starts a session bus with an abstract address.
func abstractBus(t *testing.T, h *e2etest.Home) string {
	t.Helper()
	name := filepath.Base(h.Dir)
	cmd := exec.Command(e2etest.Need(t, "dbus-daemon"), "--session", "--nofork", "--print-address=3", "--address=unix:abstract="+name)
	return "DBUS_SESSION_BUS_ADDRESS=" + said(t, cmd)
}

// said starts a server and returns the line that it writes to descriptor 3.
func said(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd.ExtraFiles = []*os.File{w}
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	_ = r.SetReadDeadline(time.Now().Add(e2etest.Patience))
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("%v says nothing: %v", cmd.Args, err)
	}
	return strings.TrimSpace(line)
}
