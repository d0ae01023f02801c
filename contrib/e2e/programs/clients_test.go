package programs

import (
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// Scripts that make one exchange, and print what came back.
const (
	pythonURL = `
import sys, urllib.request
print(urllib.request.urlopen(sys.argv[1], timeout=60).read().decode())`
	pythonAsyncio = `
import asyncio, sys
async def main():
    r, w = await asyncio.open_connection(sys.argv[1], int(sys.argv[2]))
    w.write(b"GET / HTTP/1.1\r\n\r\n")
    print((await r.read()).decode())
    w.close()
asyncio.run(main())`
	pythonUDP = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(60)
s.sendmsg([b"pi", b"ng"], [], 0, (sys.argv[1], int(sys.argv[2])))
print(s.recv(16).decode())`
	nodeFetch = `
fetch(process.argv[1]).then(r => r.text()).then(t => console.log(t)).catch(e => {
  console.log(e.cause.code)
  process.exit(1)
})`
)

func TestClients(t *testing.T) {
	tests := []struct {
		name string
		args []string // URL, HOST, PORT stand for the server's
		code int      // when denied
	}{
		{"curl", []string{"curl", "-sS", "URL"}, 7},
		{"curl keeps trying", []string{"curl", "-sS", "--retry", "3", "--retry-delay", "1", "URL"}, 7},
		// Without --tries wget waits for minutes: EACCES is none of the errors
		// that it gives up on at once.
		{"wget", []string{"wget", "-nv", "-O", "-", "--tries", "1", "--timeout", "900", "URL"}, 4},
		{"python urllib", []string{"/usr/bin/python3", "-c", pythonURL, "URL"}, 1},
		{"python asyncio", []string{"/usr/bin/python3", "-c", pythonAsyncio, "HOST", "PORT"}, 1},
		{"node fetch", []string{"/usr/bin/node", "-e", nodeFetch, "URL"}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := e2etest.Listen(t)
			tr := trial{
				args: fill(tt.args, srv.Addr()), dest: "tcp://" + srv.Addr(), count: srv, denied: denial{code: tt.code},
			}
			tr.run(t)
		})
	}
	t.Run("python sendmsg", func(t *testing.T) {
		srv := listenUDP(t, "127.0.0.1:0")
		tr := trial{
			args: fill([]string{"/usr/bin/python3", "-c", pythonUDP, "HOST", "PORT"}, srv.Addr()),
			dest: "udp://" + srv.Addr(), count: srv, denied: denial{code: 1},
		}
		tr.run(t)
	})
}

// fill puts an address into arguments.
func fill(args []string, addr string) []string {
	host, port, _ := strings.Cut(addr, ":")
	filled := make([]string, len(args))
	for i, a := range args {
		switch a {
		case "URL":
			a = "http://" + addr + "/"
		case "HOST":
			a = host
		case "PORT":
			a = port
		}
		filled[i] = a
	}
	return filled
}

// TestDownload moves more than buffers hold, both ways.
func TestDownload(t *testing.T) {
	want := strings.Repeat("0123456789abcdef", 1<<18)
	srv := serveHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			_, _ = w.Write([]byte(want))
			return
		}
		buf := make([]byte, 1<<16)
		n := 0
		for {
			m, err := r.Body.Read(buf)
			if n += m; err != nil {
				break
			}
		}
		if n == len(want) {
			_, _ = w.Write([]byte("all"))
		}
	}))
	h := e2etest.NewHome(t)
	got := h.Run("--no-prompt", "--allow", srv.Addr(), "curl", "-sS", "http://"+srv.Addr())
	if got.Stdout != want || got.Code != 0 {
		t.Errorf("code %d and %d bytes, want 0 and %d; stderr %q", got.Code, len(got.Stdout), len(want), got.Stderr)
	}
	cmd := h.Command("--no-prompt", "--allow", srv.Addr(), "curl", "-sS", "--data-binary", "@-", "http://"+srv.Addr())
	cmd.Stdin = strings.NewReader(want)
	if got := h.Finish(cmd); got.Stdout != "all" || got.Code != 0 {
		t.Errorf("upload: code %d, stdout %q, want 0 and all; stderr %q", got.Code, got.Stdout, got.Stderr)
	}
}

// TestHintWorks types what the hint says, and then the program works.
func TestHintWorks(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) {
			h := e2etest.NewHome(t)
			srv := e2etest.Serve(t, address, e2etest.Hello)
			args := []string{"--no-prompt", "curl", "-sS", "-g", "http://" + srv.Addr()}
			r := h.Run(args...)
			_, after, ok := strings.Cut(r.Stderr, "To allow it: netjail ")
			if !ok || r.Code == 0 {
				t.Fatalf("got %+v, want a refusal with a hint", r)
			}
			typed, _, _ := strings.Cut(after, "\n")
			sh := native(h, "/bin/sh", "-c", `"$0" `+typed, e2etest.Bin(t))
			if r := h.Finish(sh); r.Code != 0 {
				t.Fatalf("netjail %s: %+v", typed, r)
			}
			if r := h.Run(args...); r.Code != 0 || r.Stdout != "hello\n" || r.Stderr != "" {
				t.Errorf("after the hint: %+v, want hello", r)
			}
			if n := srv.Settled(t); n != 1 {
				t.Errorf("%d arrived, want 1", n)
			}
		})
	}
}

// TestShellScript denies one destination to one of several programs of a
// script, and tells of it once.
func TestShellScript(t *testing.T) {
	h := e2etest.NewHome(t)
	good, bad := e2etest.Listen(t), e2etest.Listen(t)
	script := `for i in 1 2 3; do curl -s "$1"; curl -s "$2" || echo failed; done`
	got := h.Run("--no-prompt", "--allow", good.Addr(), "sh", "-c", script, "sh", good.Addr(), bad.Addr())
	if want := strings.Repeat("hello\nfailed\n", 3); got.Stdout != want || got.Code != 0 {
		t.Errorf("code %d, stdout %q, want 0 and %q", got.Code, got.Stdout, want)
	}
	wantHints(t, got.Stderr, "sh", "tcp://"+bad.Addr())
	if g, b := good.Settled(t), bad.Settled(t); g != 3 || b != 0 {
		t.Errorf("%d and %d arrived, want 3 and 0", g, b)
	}
}

// TestFallback denies the first of two addresses: the program takes the other.
func TestFallback(t *testing.T) {
	h := e2etest.NewHome(t)
	srv := e2etest.Listen(t)
	port := strconv.Itoa(srv.Port())
	r := h.Run("--no-prompt", "--allow", srv.Addr(), "curl", "-sS",
		"--resolve", "two.example.org:"+port+":[::1],127.0.0.1", "http://two.example.org:"+port+"/")
	if r.Stdout != "hello\n" || r.Code != 0 {
		t.Errorf("got %+v, want hello", r)
	}
	wantHints(t, r.Stderr, "curl", "tcp://[::1]:"+port)
	if n := srv.Settled(t); n != 1 {
		t.Errorf("%d arrived, want 1", n)
	}
}

// command runs what prepares a test, and wants it to succeed.
func command(t *testing.T, dir string, env []string, args ...string) string {
	t.Helper()
	e2etest.Need(t, args[0])
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}
