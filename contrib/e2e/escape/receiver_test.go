package escape

import (
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// counts says what has arrived at one port.
type counts struct {
	all       int // datagrams and connections
	trick     int // of them, what a trick sent
	forbidden int // what nobody may send anywhere
}

func (c *counts) add(d counts) {
	c.all += d.all
	c.trick += d.trick
	c.forbidden += d.forbidden
}

// receiver counts on one port of both loopback addresses, TCP and UDP.
type receiver struct {
	port    int
	hosts   []string // where it listens, by family
	packets []net.PacketConn
	streams []net.Listener
	readers sync.WaitGroup // of sockets
	conns   sync.WaitGroup // of connections

	mu      sync.Mutex
	counts  counts
	markers map[string]bool
}

const (
	marker  = "marker "
	perConn = 30 * time.Second
)

// hosts are the loopback addresses, by family, and everywhere is every address.
var (
	hosts      = []string{"127.0.0.1", "::1"}
	everywhere = []string{"0.0.0.0", "::"}
)

// listen finds a port that is free on all hosts.
func listen(t *testing.T, on []string) *receiver {
	t.Helper()
	for range 50 {
		r := &receiver{hosts: on, markers: make(map[string]bool)}
		err := r.open()
		if err == nil {
			r.serve()
			t.Cleanup(r.close)
			return r
		}
		r.close()
	}
	t.Fatal("no port is free on both loopback addresses")
	return nil
}

func (r *receiver) open() error {
	for i, host := range r.hosts {
		family := []string{"4", "6"}[i]
		l, err := net.Listen("tcp"+family, r.addr(host))
		if err != nil {
			return err
		}
		r.streams = append(r.streams, l)
		r.port = l.Addr().(*net.TCPAddr).Port
		p, err := net.ListenPacket("udp"+family, r.addr(host))
		if err != nil {
			return err
		}
		r.packets = append(r.packets, p)
	}
	return nil
}

func (r *receiver) addr(host string) string { return net.JoinHostPort(host, strconv.Itoa(r.port)) }

func (r *receiver) close() {
	for _, l := range r.streams {
		l.Close()
	}
	for _, p := range r.packets {
		p.Close()
	}
	r.readers.Wait()
	r.conns.Wait()
}

func (r *receiver) serve() {
	for _, l := range r.streams {
		r.readers.Go(func() { r.accept(l) })
	}
	for _, p := range r.packets {
		r.readers.Go(func() { r.receive(p) })
	}
}

func (r *receiver) receive(p net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		n, _, err := p.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			r.count(string(buf[:n]))
		}
	}
}

func (r *receiver) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		r.conns.Go(func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(perConn))
			b, _ := io.ReadAll(io.LimitReader(c, 2048))
			r.count(string(b))
		})
	}
}

func (r *receiver) count(data string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if strings.HasPrefix(data, marker) {
		r.markers[data] = true
		return
	}
	r.counts.all++
	switch {
	case strings.HasPrefix(data, "forbidden"):
		r.counts.forbidden++
	case strings.HasPrefix(data, "trick"):
		r.counts.trick++
	}
}

// settled returns the counts after all that was sent before was counted: on
// loopback nothing overtakes, so it sends something that comes last.
func (r *receiver) settled(t *testing.T) counts {
	t.Helper()
	r.mu.Lock()
	clear(r.markers) // of an earlier time
	r.mu.Unlock()
	for _, network := range []string{"udp", "tcp"} {
		for _, host := range hosts {
			r.mark(t, network, host)
		}
	}
	r.conns.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts
}

func (r *receiver) mark(t *testing.T, network, host string) {
	t.Helper()
	c, err := net.Dial(network, r.addr(host))
	if err != nil {
		t.Fatal(err)
	}
	text := marker + network + host
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	if network == "tcp" {
		c.Close()
	} else {
		defer c.Close()
	}
	e2etest.WaitFor(t, "the receiver counts", func() bool {
		if network == "udp" { // the first one may find the queue full
			_, _ = io.WriteString(c, text)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.markers[text]
	})
}

// arrived is what has come by now.
func (r *receiver) arrived() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts.all
}

// forget counts from nothing.
func (r *receiver) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts = counts{}
	clear(r.markers)
}
