package programs

import (
	_ "embed"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

//go:embed testdata/compat.c
var compatC []byte

func need386(t *testing.T) {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("32-bit programs are supported on x86-64 only")
	}
}

func glibc32Client(t *testing.T) string {
	return build(t, "client-i386", "client.c", clientC, "gcc", "-m32", "-O1", "-Wall", "-Werror", "-pthread")
}

func go386Client(t *testing.T) string {
	return build(t, "client-386", "client.go", clientGo, "env", "GOARCH=386", "go", "build")
}

// Test32Bit runs real i386 programs, of which those of Go and of Debian's C
// library make all their socket calls through socketcall(2).
func Test32Bit(t *testing.T) {
	need386(t)
	for mode, kinds := range map[string][]string{
		"plain":   {"tcp", "tcp-nb", "udp", "udp-nb", "udpto", "udpmsg", "udpmmsg"},
		"threads": {"tcp", "udpto"},
		"fork":    {"tcp"},
		"vfork":   {"tcp"},
	} {
		for _, kind := range kinds {
			t.Run("glibc/"+mode+"/"+kind, func(t *testing.T) {
				srv := listen(t, kind[:3], "127.0.0.1:0")
				_, port, _ := net.SplitHostPort(srv.Addr())
				tr := trial{
					args: []string{glibc32Client(t), mode, kind, "127.0.0.1", port},
					dest: kind[:3] + "://" + srv.Addr(), count: srv, denied: denial{code: 1}, flags: []string{"--32bit"},
				}
				tr.run(t)
			})
		}
	}
	for _, kind := range []string{"tcp", "udp", "udpto", "many"} {
		t.Run("go/"+kind, func(t *testing.T) {
			proto := "tcp"
			if strings.HasPrefix(kind, "udp") {
				proto = "udp"
			}
			srv := listen(t, proto, "127.0.0.1:0")
			tr := trial{
				args: []string{go386Client(t), kind, srv.Addr()}, dest: proto + "://" + srv.Addr(),
				count: srv, denied: denial{code: 1}, flags: []string{"--32bit"},
			}
			tr.run(t)
		})
	}
	t.Run("64-bit beside it", func(t *testing.T) {
		srv := listen(t, "tcp", "127.0.0.1:0")
		_, port, _ := net.SplitHostPort(srv.Addr())
		tr := trial{
			args: []string{glibcClient(t), "plain", "tcp", "127.0.0.1", port},
			dest: "tcp://" + srv.Addr(), count: srv, denied: denial{code: 1}, flags: []string{"--32bit"},
		}
		tr.run(t)
	})
}

// Test32BitSemantics compares the results of a script, bare and in a jail.
func Test32BitSemantics(t *testing.T) {
	need386(t)
	h := e2etest.NewHome(t)
	script := build(t, "compat", "compat.c", compatC, "gcc", "-m32", "-O1", "-Wall", "-Werror")
	bare := h.Finish(native(h, script))
	got := h.Run("--32bit", "--no-prompt", "--allow", "@localhost,listen://@localhost,unix:"+h.Dir+"/compat.sock", script)
	if bare.Code != 0 || strings.Count(bare.Stdout, "\n") < 50 {
		t.Fatalf("bare: %+v", bare)
	}
	if got != bare {
		t.Errorf("got code %d\n%s%s\nwant code %d\n%s%s", got.Code, got.Stdout, got.Stderr, bare.Code, bare.Stdout, bare.Stderr)
	}
}

// Test32BitDaemonised has a successor answer the calls of a 32-bit program.
func Test32BitDaemonised(t *testing.T) {
	need386(t)
	leaveBehind(t, glibc32Client(t), "tcp", "--32bit")
}

// Test32BitRefused says what to do, for the program itself and for one that
// another starts.
func Test32BitRefused(t *testing.T) {
	need386(t)
	h := e2etest.NewHome(t)
	srv := listen(t, "tcp", "127.0.0.1:0")
	_, port, _ := net.SplitHostPort(srv.Addr())
	args := []string{glibc32Client(t), "plain", "tcp", "127.0.0.1", port}
	if bare := h.Finish(native(h, args...)); bare.Code != 0 || srv.Settled(t) != 1 {
		t.Fatalf("bare: %+v", bare)
	}
	got := h.Run(append([]string{"--no-prompt", "--allow", "tcp://" + srv.Addr()}, args...)...)
	if got.Code != 126 || !strings.Contains(got.Stderr, "it is a 32-bit program\nnetjail: hint: netjail --32bit COMMAND") {
		t.Errorf("itself: got %+v", got)
	}
	shell := append([]string{"--no-prompt", "--allow", "tcp://" + srv.Addr(), "sh", "-c", `"$@"; echo $?`, "sh"}, args...)
	got = h.Run(shell...)
	want := "netjail: refused: " + args[0] + " is a 32-bit program. netjail --32bit COMMAND lets such programs run\n"
	if got.Code != 0 || strings.Count(got.Stderr, want) != 1 {
		t.Errorf("from a shell: got %+v, want once %q", got, want)
	}
	if n := srv.Settled(t); n != 1 {
		t.Errorf("%d arrived, want only the one without netjail", n)
	}
}

//go:embed testdata/compat_race.c
var compatRaceC []byte

// Test32BitRace swaps what socketcall(2) points to while it is decided about.
func Test32BitRace(t *testing.T) {
	need386(t)
	const tries = "20000"
	h := e2etest.NewHome(t)
	racer := build(t, "compat_race", "compat_race.c", compatRaceC, "gcc", "-m32", "-O1", "-Wall", "-pthread")
	allowed, denied := listen(t, "udp", "127.0.0.1:0"), listen(t, "udp", "127.0.0.1:0")
	_, good, _ := net.SplitHostPort(allowed.Addr())
	_, bad, _ := net.SplitHostPort(denied.Addr())
	e2etest.WaitFor(t, "the race reaches the other destination without a jail", func() bool {
		bare := h.Finish(native(h, racer, good, bad, tries))
		return bare.Code == 0 && denied.Settled(t) > 0
	})
	leaked, before := denied.Settled(t), allowed.Settled(t)
	got := h.Run("--32bit", "--no-prompt", "--allow", "udp://"+allowed.Addr(), racer, good, bad, tries)
	if n := allowed.Settled(t) - before; n == 0 || got.Code != 0 {
		t.Errorf("%d arrived at the allowed destination: %+v", n, got)
	}
	if n := denied.Settled(t) - leaked; n != 0 {
		t.Errorf("%d arrived at the denied destination, want 0", n)
	}
	t.Logf("of %s tries %s were allowed", tries, strings.TrimSpace(got.Stdout))
}
