package guards

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// build builds a program of this module for the user.
func (w *world) build(name string, args ...string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	cmd := exec.Command("go", append(args[:1:1], append([]string{"-o", path}, args[1:]...)...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return path
}

const module = "github.com/netjail/netjail"

// supervisors are netjail as it is, and one that lets the kernel perform every
// call.
func (w *world) supervisors() map[string]string {
	return map[string]string{
		"right": filepath.Join(w.dir, "netjail"),
		"wrong": w.build("netjail-wrong", "build", "-tags", "netjail_continue", module+"/cmd/netjail"),
	}
}

// TestEscape tries the rows of the escape suite.
func TestEscape(t *testing.T) {
	each(t, func(t *testing.T, w *world, guard string) {
		suite := w.build("escape.test", "test", "-c", module+"/contrib/e2e/escape")
		for name, bin := range w.supervisors() {
			t.Run(name, func(t *testing.T) {
				cmd := w.user("sh", "-c", `cd "$HOME" && exec "$0" -test.run '^TestEscapeGuards$' -test.v`, suite)
				cmd.Env = append(cmd.Env, "NETJAIL_BIN="+bin, "NETJAIL_TEST_GUARDS="+guard, "TMPDIR="+w.tmp())
				if name == "wrong" {
					cmd.Env = append(cmd.Env, "NETJAIL_TEST_CONTINUE=1")
				}
				out, err := cmd.CombinedOutput()
				_, table, _ := strings.Cut(string(out), "\nrow ")
				t.Logf("row %s", table)
				if err != nil || !strings.Contains(string(out), "--- PASS: TestEscapeGuards/"+guard+"/A1 ") {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	})
}

// tmp is a directory for the user's temporary files. A socket's path has 108 bytes.
func (w *world) tmp() string {
	w.t.Helper()
	dir, err := os.MkdirTemp("", "njt")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { os.RemoveAll(dir) })
	w.give(dir)
	return dir
}

// tries is how often each attack is tried: $NETJAIL_RACE_TRIES.
func tries(t *testing.T) int {
	s := os.Getenv("NETJAIL_RACE_TRIES")
	if s == "" {
		return 3000 // and contrib/race a million
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRaces changes calls under the check. Without a guard the wrong supervisor
// lets some through: the harness sees it.
func TestRaces(t *testing.T) {
	each(t, func(t *testing.T, w *world, guard string) {
		racer := w.build("interpose.test", "test", "-c", module+"/interpose")
		supervisors := w.supervisors()
		for _, name := range w.attacks(racer) {
			for _, threads := range []int{2, 8} {
				for _, tt := range []struct{ bin, guard string }{{"right", guard}, {"wrong", guard}} {
					t.Run(fmt.Sprintf("%s, %d threads, %s", name, threads, tt.bin), func(t *testing.T) {
						good, bad := w.race(racer, supervisors[tt.bin], tt.guard, name, threads, tries(t))
						t.Logf("%d tries: %d datagrams at the allowed address, %d at the denied one", tries(t), good, bad)
						if good == 0 || bad != 0 {
							t.Errorf("%d datagrams at the allowed address, want some; %d at the denied one, want none", good, bad)
						}
					})
				}
			}
		}
		t.Run("are found", func(t *testing.T) {
			for n := tries(t); ; n *= 4 {
				if _, bad := w.race(racer, supervisors["wrong"], "strict", "address", 2, n); bad > 0 {
					return
				}
				if n > 4_000_000 {
					t.Fatal("the harness finds no leak where there is one")
				}
			}
		})
	})
}

// attacks asks the race harness what it can do.
func (w *world) attacks(racer string) (list []string) {
	w.t.Helper()
	cmd := w.user(racer)
	cmd.Env = append(cmd.Env, "NETJAIL_VICTIM=attacks")
	r := w.finish(cmd)
	for name := range strings.Lines(r.Stdout) {
		list = append(list, strings.TrimSpace(name))
	}
	if r.Code != 0 || len(list) < 5 {
		w.t.Fatalf("the race harness has %q: %s", list, r.Stderr)
	}
	return list
}

// race runs an attack in a jail, and counts on loopback, outside of the jail.
func (w *world) race(racer, bin, guard, name string, threads, tries int) (good, bad int64) {
	w.t.Helper()
	var g, b *counter
	w.within(w.host, func() { g, b = newCounter(w.t), newCounter(w.t) })
	defer g.Close()
	defer b.Close()
	cmd := w.user(append(append([]string{bin}, w.guard(guard)...), "--no-prompt", "--allow", "udp://"+g.addr(), "--", racer)...)
	cmd.Env = append(cmd.Env, "NETJAIL_VICTIM=race", "NETJAIL_RACE="+name, "NETJAIL_GOOD="+g.addr(), "NETJAIL_BAD="+b.addr(),
		"NETJAIL_THREADS="+strconv.Itoa(threads), "NETJAIL_TRIES="+strconv.Itoa(tries))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), fmt.Sprint("tried ", tries)) {
		w.t.Errorf("%s: %v\n%s", name, err, out)
	}
	w.within(w.host, func() { g.settle(w.t); b.settle(w.t) })
	return g.n.Load(), b.n.Load()
}

// counter counts datagrams on loopback.
type counter struct {
	*net.UDPConn
	n, marks atomic.Int64
}

func newCounter(t testing.TB) *counter {
	u, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	_ = u.SetReadBuffer(8 << 20)
	c := &counter{UDPConn: u}
	go func() {
		for buf := make([]byte, 16); ; {
			n, err := u.Read(buf)
			switch {
			case err != nil:
				return
			case string(buf[:n]) == "mark":
				c.marks.Add(1)
			default:
				c.n.Add(1)
			}
		}
	}()
	return c
}

func (c *counter) addr() string { return c.LocalAddr().String() }

// settle waits until what is queued was counted.
func (c *counter) settle(t testing.TB) {
	u, err := net.Dial("udp", c.addr())
	if err != nil {
		t.Error(err)
		return
	}
	defer u.Close()
	e2etest.WaitFor(t, "the counter counts", func() bool {
		_, _ = io.WriteString(u, "mark")
		return c.marks.Load() > 0
	})
}

// TestMoved: no program gets out of the guard's cgroup by itself, and one that root
// has moved is killed before long; what it had then is still in the jail.
func TestMoved(t *testing.T) {
	each(t, func(t *testing.T, w *world, guard string) {
		if guard != "nft" {
			t.Skip("a network namespace knows no cgroups")
		}
		mount := strings.Fields(run(t, "sh", "-c", `grep " cgroup2 " /proc/self/mounts`))[1]
		script := `for f in $(find ` + mount + ` -name cgroup.procs -o -name cgroup.threads); do echo $$ 2>/dev/null >$f && echo out by $f; done
mkdir ` + mount + `/netjail-mine 2>/dev/null && echo made one; echo tried $$; exec sleep 100`
		out := w.started(w.jail(guard, "--no-prompt", "--", "sh", "-c", script))
		pid, ok := strings.CutPrefix(line(t, out), "tried ")
		if !ok {
			t.Fatalf("the program %s", pid)
		}
		group := run(t, "cat", "/proc/"+pid+"/cgroup")
		if !strings.Contains(group, "/netjail-") {
			t.Fatalf("it is in %s", group)
		}
		if err := os.WriteFile(mount+"/cgroup.procs", []byte(pid), 0o644); err != nil { // as root
			t.Fatal(err)
		}
		start := time.Now()
		e2etest.WaitFor(t, "it is killed", func() bool {
			_, err := os.Stat("/proc/" + pid)
			return err != nil
		})
		t.Logf("killed after %v", time.Since(start).Round(time.Millisecond))
	})
}

// TestBrowsers has browsers draw their page under each guard.
func TestBrowsers(t *testing.T) {
	each(t, func(t *testing.T, w *world, guard string) {
		suite := w.build("programs.test", "test", "-c", module+"/contrib/e2e/programs")
		cmd := w.user("sh", "-c", `cd "$HOME" && exec "$0" -test.run '^TestBrowsers$' -test.v`, suite)
		cmd.Env = append(cmd.Env, "NETJAIL_BIN="+filepath.Join(w.dir, "netjail"), "NETJAIL_TEST_GUARDS="+guard, "TMPDIR="+w.tmp())
		out, err := cmd.CombinedOutput()
		for _, browser := range []string{"firefox-esr", "chromium"} {
			if err != nil || !strings.Contains(string(out), "--- PASS: TestBrowsers/"+browser+"/allowed,_"+guard) {
				t.Fatalf("%v\n%s", err, out)
			}
		}
	})
}
