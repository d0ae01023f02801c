package jail

import (
	"io"
	"net"
	"testing"

	"github.com/netjail/netjail/daemon/api"
)

// TestDaemonEndsMeanwhile connects to a daemon that ends before it answers, twice.
func TestDaemonEndsMeanwhile(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", api.SocketPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for n := 1; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if n == retries {
				m, err := api.NewConn(c, 1<<16).Receive()
				if err != nil || m.Op != api.OpRegister {
					t.Errorf("got %+v, %v", m, err)
				}
				_, _ = io.WriteString(c, `{"v":1,"data":{"rules":[]}}`+"\n")
				defer c.Close()
				continue
			}
			c.Close()
		}
	}()
	s, err := newSupervisor(Config{App: "app", Runtime: dir}, "j", io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer s.link.close()
	if err := s.link.connect(t.Context()); err != nil {
		t.Errorf("got %v", err)
	}
}
