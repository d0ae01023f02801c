package programs

import (
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// bindUDP binds a UDP socket to a port of its own choice and prints the error.
const bindUDP = `
import errno, random, socket, sys
while True:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        s.bind((sys.argv[1], random.randrange(20000, 30000)))
    except OSError as e:
        if e.errno == errno.EADDRINUSE:
            continue
        print(errno.errorcode[e.errno])
    else:
        print("bound")
    break
`

// TestBindUDP: a port that any program may have is like one that the kernel
// chooses, unless a rule speaks of it or it is on one address.
func TestBindUDP(t *testing.T) {
	h := e2etest.NewHome(t)
	for _, c := range []struct {
		name, addr string
		flags      []string
		want       string
	}{
		{"every address", "0.0.0.0", nil, "bound\n"},
		{"one address", "127.0.0.1", nil, "EACCES\n"},
		{"one address, allowed", "127.0.0.1", []string{"--allow", "listen+udp://127.0.0.1"}, "bound\n"},
		{"every address, denied", "0.0.0.0", []string{"--deny", "listen+udp://0.0.0.0"}, "EACCES\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"--no-prompt"}, c.flags...)
			got := h.Run(append(args, "/usr/bin/python3", "-c", bindUDP, c.addr)...)
			if got.Code != 0 || got.Stdout != c.want {
				t.Errorf("got %+v, want %q", got, c.want)
			}
		})
	}
	if r := h.Run("rules", "add", "python3", "ask", "listen+udp://0.0.0.0"); r.Code != 0 {
		t.Fatalf("rules add: %+v", r)
	}
	if got := h.Run("--no-prompt", "/usr/bin/python3", "-c", bindUDP, "0.0.0.0"); got.Stdout != "EACCES\n" {
		t.Errorf("a rule to ask, and nobody to: got %+v", got)
	}
}
