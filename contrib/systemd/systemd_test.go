// Package systemd is how systemd runs netjail's root service.
package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/netjail/netjail/daemon/guard/client"
)

// TestUnits has systemd read the units. It runs nothing.
func TestUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not there, as on a machine without systemd")
	}
	dir := t.TempDir()
	var units []string
	for _, name := range []string{"netjail-guard.service", "netjail-guard.socket"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(b), "/usr/local/bin/netjail ", "/bin/true ") // it need not be installed
		if name == "netjail-guard.socket" && !strings.Contains(text, "ListenStream="+client.Socket+"\n") {
			t.Errorf("it listens elsewhere than at %s", client.Socket)
		}
		if name == "netjail-guard.service" && !strings.Contains(text, "ExecStart=/bin/true guard\n") {
			t.Error("it runs something else than netjail guard")
		}
		units = append(units, filepath.Join(dir, name))
		if err := os.WriteFile(units[len(units)-1], []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(analyze, append([]string{"verify", "--man=no"}, units...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	// It also tells of mistakes, or this test would be none.
	broken := filepath.Join(dir, "broken.service")
	if err := os.WriteFile(broken, []byte("[Service]\nExecStart=/bin/true\nNoSuchThing=yes\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, _ := exec.Command(analyze, "verify", "--man=no", broken).CombinedOutput(); !strings.Contains(string(out), "NoSuchThing") {
		t.Errorf("of a mistake: %s", out)
	}
}
