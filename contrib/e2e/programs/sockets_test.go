package programs

import (
	"net"
	"strconv"
	"syscall"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// receiver is an echo server on one address.
type receiver interface {
	counter
	Addr() string
}

func listen(t *testing.T, proto, address string) receiver {
	t.Helper()
	if proto == "tcp" {
		return e2etest.Serve(t, address, echo)
	}
	return listenUDP(t, address)
}

// TestSockets runs every kind of socket and of call that reaches a peer, from
// a dynamic and from a static program.
func TestSockets(t *testing.T) {
	families := []struct{ name, listen, host string }{
		{"IPv4", "127.0.0.1:0", "127.0.0.1"},
		{"IPv6", "[::1]:0", "::1"},
		{"v4-mapped", "127.0.0.1:0", "::ffff:127.0.0.1"},
		{"any IPv4", "127.0.0.1:0", "0.0.0.0"},
		{"any IPv6", "[::1]:0", "::"},
	}
	kinds := []struct{ arg, proto string }{
		{"tcp", "tcp"}, {"tcp-nb", "tcp"}, {"udp", "udp"}, {"udp-nb", "udp"},
		{"udpto", "udp"}, {"udpmsg", "udp"}, {"udpmmsg", "udp"},
	}
	clients := []struct {
		name  string
		build func(*testing.T) string
	}{{"glibc", glibcClient}, {"static musl", muslClient}}
	for _, c := range clients {
		for _, f := range families {
			for _, k := range kinds {
				t.Run(c.name+"/"+f.name+"/"+k.arg, func(t *testing.T) {
					srv := listen(t, k.proto, f.listen)
					_, port, _ := net.SplitHostPort(srv.Addr())
					tr := trial{
						args: []string{c.build(t), "plain", k.arg, f.host, port},
						dest: k.proto + "://" + srv.Addr(), count: srv, denied: denial{code: 1},
					}
					tr.run(t)
				})
			}
		}
	}
}

// TestRefused looks for the errors of a port where nobody listens: allowed,
// they are the kernel's own.
func TestRefused(t *testing.T) {
	client := glibcClient(t)
	for _, kind := range []string{"tcp", "tcp-nb", "udp"} {
		t.Run(kind, func(t *testing.T) {
			h := e2etest.NewHome(t)
			port := strconv.Itoa(unusedPort(t))
			args := []string{client, "plain", kind, "127.0.0.1", port}
			want := h.Finish(native(h, args...))
			got := h.Run(append([]string{"--no-prompt", "--allow", "127.0.0.1:" + port}, args...)...)
			if got != want || want.Code != 1 {
				t.Errorf("got %+v, want %+v with code 1", got, want)
			}
		})
	}
}

// unusedPort reserves a port for the test, on which nobody listens.
func unusedPort(t *testing.T) int {
	t.Helper()
	port := 0
	for _, typ := range []int{syscall.SOCK_STREAM, syscall.SOCK_DGRAM} {
		fd, err := syscall.Socket(syscall.AF_INET, typ|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { syscall.Close(fd) })
		// The datagram socket is bound to another address of loopback:
		// bound to this one it would receive.
		at := &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
		if typ == syscall.SOCK_DGRAM {
			at.Addr[3] = 2
		}
		if err := syscall.Bind(fd, at); err != nil {
			t.Fatal(err)
		}
		if name, err := syscall.Getsockname(fd); err == nil && port == 0 {
			port = name.(*syscall.SockaddrInet4).Port
		}
	}
	return port
}

func TestGo(t *testing.T) {
	for _, tt := range []struct{ kind, proto string }{
		{"tcp", "tcp"}, {"udp", "udp"}, {"udpto", "udp"}, {"many", "tcp"},
	} {
		for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
			t.Run(tt.kind+" "+address, func(t *testing.T) {
				srv := listen(t, tt.proto, address)
				tr := trial{
					args: []string{goClient(t), tt.kind, srv.Addr()},
					dest: tt.proto + "://" + srv.Addr(), count: srv, denied: denial{code: 1},
				}
				tr.run(t)
			})
		}
	}
}
