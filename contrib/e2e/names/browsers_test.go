package names

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// browserLimit is how long a browser may take for its start and one page.
const browserLimit = 2 * time.Minute

// TestBrowsers opens a page by name. Browsers ask for more names than that, of
// which nothing is said here.
func TestBrowsers(t *testing.T) {
	const host, at = "a.example.org", "198.51.100.1"
	for _, program := range []string{"firefox-esr", "chromium"} {
		t.Run(program, func(t *testing.T) {
			e2etest.Need(t, program)
			b := &browser{newTrial(t), program}
			bare := b.open(t, host, nil)
			if !slices.Contains(bare.asked, host) || !slices.Contains(bare.arrived, at) || bare.Code != 0 {
				t.Fatalf("without netjail: %+v", bare)
			}
			got := b.open(t, host, allow(host+":80"))
			if got.Code != 0 || program == "chromium" && !strings.Contains(got.Stdout, "hello") {
				t.Errorf("allowed: %+v", got)
			}
			got.onlyAsked(t, host)
			if !slices.Contains(got.arrived, at) {
				t.Errorf("allowed: arrived at %q", got.arrived)
			}
			got = b.open(t, host, []string{})
			got.onlyAsked(t)
			got.onlyArrived(t)
			if !slices.Contains(hints(t, got.Stderr, program), "look up "+host) {
				t.Errorf("no hint about %s:\n%s", host, got.Stderr)
			}
		})
	}
}

type browser struct {
	*trial
	program string
}

// command returns one that opens a page, under netjail if there are flags. It
// starts with no profile, and so with no cache.
func (b *browser) command(t *testing.T, host string, flags []string) *exec.Cmd {
	t.Helper()
	profile := filepath.Join(b.h.Dir, "profile")
	if err := os.RemoveAll(profile); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(profile, 0o700); err != nil {
		t.Fatal(err)
	}
	args := []string{"firefox-esr", "--headless", "--no-remote", "--profile", profile, "--screenshot", filepath.Join(b.h.Dir, "shot.png")}
	if b.program == "chromium" {
		args = []string{
			"chromium", "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking",
			"--disable-component-update", "--disable-sync", "--user-data-dir=" + profile, "--dump-dom",
		}
		if os.Geteuid() == 0 {
			args = append(args, "--no-sandbox")
		}
	}
	args = append(args, "http://"+host+"/")
	if flags == nil {
		return b.native(args...)
	}
	return b.h.Command(slices.Concat([]string{"--no-prompt"}, flags, args)...)
}

// open opens a page. With nothing allowed a browser need not end: it is ended
// when it was told that the name is denied.
func (b *browser) open(t *testing.T, host string, flags []string) outcome {
	t.Helper()
	cmd := b.command(t, host, flags)
	if flags == nil || len(flags) > 0 {
		got := b.observe(t, cmd)
		if got.took > browserLimit {
			t.Errorf("took %v, want less than %v", got.took, browserLimit)
		}
		return got
	}
	system.reset(t)
	web.reset(t)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(browserLimit, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	var said strings.Builder
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		fmt.Fprintln(&said, lines.Text())
		if strings.Contains(lines.Text(), "look up "+host) {
			_ = cmd.Process.Signal(syscall.SIGTERM)
		}
	}
	_ = cmd.Wait() // a browser that was ended says that it failed
	return outcome{Result: e2etest.Result{Stderr: said.String()}, asked: system.names(t), arrived: web.arrived(t)}
}
