package programs

import (
	"io"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// echo sends back the first thing that arrives.
func echo(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(e2etest.Patience))
	buf := make([]byte, 64)
	if n, err := c.Read(buf); err == nil {
		_, _ = c.Write(buf[:n])
	}
}

// datagrams is a UDP server that echoes and counts.
type datagrams struct {
	conn  net.PacketConn
	count atomic.Int64
}

func listenUDP(t *testing.T, address string) *datagrams {
	t.Helper()
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	d := &datagrams{conn: conn}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 64)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			d.count.Add(1)
			_, _ = conn.WriteTo(buf[:n], from)
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return d
}

func (d *datagrams) Addr() string { return d.conn.LocalAddr().String() }

// Settled returns the count after everything that was in the socket's queue
// was counted: a datagram of its own comes last.
func (d *datagrams) Settled(t testing.TB) int {
	t.Helper()
	before := d.count.Load()
	c, err := net.Dial("udp", d.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(e2etest.Patience))
	if _, err := c.Write([]byte("settle")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 64)); err != nil {
		t.Fatalf("the UDP server does not answer (%d before): %v", before, err)
	}
	return int(d.count.Add(-1))
}

// accepted is a listener of connections that were accepted elsewhere.
type accepted struct {
	conns chan net.Conn
	addr  net.Addr
}

func (a *accepted) Accept() (net.Conn, error) {
	if c, ok := <-a.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (a *accepted) Close() error   { return nil }
func (a *accepted) Addr() net.Addr { return a.addr }

// serveHTTP starts a counting server for h.
func serveHTTP(t *testing.T, h http.Handler) *e2etest.Server {
	t.Helper()
	a := &accepted{conns: make(chan net.Conn), addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}
	s := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: e2etest.Patience}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(a)
	}()
	t.Cleanup(func() { // after the server below has ended
		close(a.conns)
		s.Close()
		<-done
	})
	return e2etest.Serve(t, "127.0.0.1:0", func(c net.Conn) { a.conns <- c })
}
