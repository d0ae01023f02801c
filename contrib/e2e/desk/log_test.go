package desk

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// TestLog runs programs that are allowed and denied, and finds both in the log
// with the names that their addresses have, also after the daemon has gone.
func TestLog(t *testing.T) {
	h := e2etest.NewHome(t)
	allowed, denied := listen(t), listen(t)
	run := func(srv *server) e2etest.Result {
		url := fmt.Sprintf("http://localhost:%d/", srv.Port())
		return h.Run("--no-prompt", "--allow", allowed.Addr(), "sh", "-c", "curl -4 -s "+url+"; curl -4 -s "+url)
	}
	wantResult(t, "allowed", run(allowed), 0)
	allowed.wantReached(t, "allowed", 2)
	wantResult(t, "denied", run(denied), 7)
	denied.wantReached(t, "denied", 0)

	h.StopDaemon()
	r := h.Run("log", "--json")
	var log struct {
		Version int `json:"version"`
		Events  []struct {
			App, Exe, What, Dest, Verdict, Why string
			PID, Count                         int
			Names                              []string
		} `json:"events"`
	}
	if err := json.Unmarshal([]byte(r.Stdout), &log); err != nil || log.Version != 1 {
		t.Fatalf("log: %v\n%+v", err, r)
	}
	var lines []string
	for _, e := range log.Events {
		lines = append(lines, fmt.Sprintf("%s %s %s %s", e.App, e.Verdict, e.What, e.Dest))
		if e.PID == 0 || !strings.HasSuffix(e.Exe, "/curl") || !strings.Contains(strings.Join(e.Names, " "), "localhost") || e.Count != 1 && e.Count != 2 {
			t.Errorf("got %+v", e)
		}
	}
	got := strings.Join(lines, "\n")
	for _, want := range []string{"sh allow connect tcp://" + allowed.Addr(), "sh deny connect tcp://" + denied.Addr()} {
		if !strings.Contains(got, want) {
			t.Errorf("got\n%s\nwant a line %q", got, want)
		}
	}
	text := h.Run("log", "--denied", "--host", "localhost").Stdout
	if !strings.Contains(text, denied.Addr()) || strings.Contains(text, allowed.Addr()) || !strings.Contains(text, "localhost") {
		t.Errorf("what was denied:\n%s", text)
	}
	text = h.Run("log", "summary", "--markdown").Stdout
	if !strings.Contains(text, "\n| `sh` | `127.0.0.1` | 2 | 2 | ") {
		t.Errorf("summary:\n%s", text)
	}
}
