package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// What a receiver is to a jail.
const (
	byRule  = "rule"    // a rule allows it
	byFlag  = "flag"    // the run's flags do
	asked   = "asked"   // it is asked about, and allowed once
	refused = "refused" // it is asked about, and denied once
	denied  = "denied"  // a rule denies it
	byUDP   = "udp"     // a rule allows it
	noUDP   = "noudp"   // a rule denies it
)

// receiver counts what arrives at an address, in the order of its arrival.
type receiver struct {
	kind    string
	network string
	addr    string
	port    int
	count   atomic.Int64
	close   func()

	mu   sync.Mutex
	own  map[string]chan struct{} // what settled waits for: by source, or datagram
	hold bool                     // connections stay open until the client closes
}

// allowed says whether a jail may reach it.
func (r *receiver) allowed() bool {
	switch r.kind {
	case byRule, byFlag, asked, byUDP, goodNames:
		return true
	}
	return false
}

// destination is how the program in the jail is told of it.
func (r *receiver) destination() string {
	if r.kind == goodNames || r.kind == badNames {
		return "name/" + r.kind
	}
	return r.network + "/" + r.addr
}

func listen(kind string) (*receiver, error) {
	r := &receiver{kind: kind, network: "tcp", own: make(map[string]chan struct{})}
	if kind == byUDP || kind == noUDP {
		return r, r.listenUDP("127.0.0.1:0", func(net.PacketConn, net.Addr, []byte) bool { return true })
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r.addr, r.port = l.Addr().String(), l.Addr().(*net.TCPAddr).Port
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if !r.ours(c.RemoteAddr().String()) {
				r.count.Add(1)
			}
			if r.holds() {
				wg.Go(func() {
					_, _ = c.Read(make([]byte, 1))
					c.Close()
				})
			} else {
				c.Close()
			}
		}
	})
	r.close = func() { l.Close() }
	return r, nil
}

// listenUDP counts the datagrams of which counts says that they do.
func (r *receiver) listenUDP(addr string, counts func(net.PacketConn, net.Addr, []byte) bool) error {
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		return err
	}
	r.network, r.addr, r.port = "udp", c.LocalAddr().String(), c.LocalAddr().(*net.UDPAddr).Port
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if !r.ours(string(buf[:n])) && counts(c, from, bytes.Clone(buf[:n])) {
				r.count.Add(1)
			}
		}
	}()
	r.close = func() { c.Close() }
	return nil
}

func (r *receiver) holds() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hold
}

// ours says whether something is settled's own.
func (r *receiver) ours(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.own[key]
	if c == nil {
		return false
	}
	close(c)
	delete(r.own, key)
	return true
}

// settled returns the count after everything that had arrived was counted: what
// it sends itself comes last.
func (r *receiver) settled() (int64, error) {
	arrived := make(chan struct{})
	expect := func(key string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.own[key] = arrived
	}
	if r.network == "udp" {
		c, err := net.Dial("udp", r.addr)
		if err != nil {
			return 0, err
		}
		defer c.Close()
		key := rand.Text()
		expect(key)
		if _, err := c.Write([]byte(key)); err != nil {
			return 0, err
		}
	} else {
		fd, local, err := bound()
		if err != nil {
			return 0, err
		}
		defer unix.Close(fd)
		expect(local)
		if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: r.port}); err != nil {
			return 0, err
		}
	}
	select {
	case <-arrived:
		return r.count.Load(), nil
	case <-time.After(patience):
		return 0, fmt.Errorf("%s does not count", r.addr)
	}
}

// bound returns a socket whose address is known before it connects.
func bound() (fd int, local string, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, "", err
	}
	if err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err == nil {
		var sa unix.Sockaddr
		if sa, err = unix.Getsockname(fd); err == nil {
			return fd, fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port), nil
		}
	}
	unix.Close(fd)
	return -1, "", err
}
