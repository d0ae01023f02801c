package cli

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/netjail/netjail/daemon/api"
)

// TestSilentDaemon: a daemon that takes the connection and says nothing costs
// whoever presses Tab a moment, once.
func TestSilentDaemon(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	if err := os.Mkdir(filepath.Join(dir, "netjail"), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", api.SocketPath(filepath.Join(dir, "netjail")))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := &completion{app: &app{}, words: []string{""}}
	start := time.Now()
	list := c.questions()
	if took := time.Since(start); len(list.Open) != 0 || took < patience {
		t.Errorf("%d questions after %v: it was not asked", len(list.Open), took)
	}
	start = time.Now()
	c.questions()
	c.rules()
	c.apps()
	if took := time.Since(start); took > 2*patience {
		t.Errorf("it is waited for again: %v", took)
	}
}
