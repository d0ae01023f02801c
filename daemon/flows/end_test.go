package flows

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// flowOf is the flow of a socket of this process.
func flowOf(t *testing.T, c syscall.Conn) Flow {
	t.Helper()
	ino, _ := inode(t, c)
	f, ok := own(t, new(Lister), epoch)[ino]
	if !ok {
		t.Fatalf("no socket %d is listed", ino)
	}
	return f
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestEnd ends one of two connections. Its reader waits at that time.
func TestEnd(t *testing.T) {
	_, c, s := pair(t, "tcp4", "127.0.0.1:0")
	_, otherC, otherS := pair(t, "tcp4", "127.0.0.1:0")
	read := make(chan error)
	go func() {
		_, err := c.Read(make([]byte, 1))
		read <- err
	}()
	before := descriptors(t)
	if err := End(flowOf(t, c)); err != nil {
		t.Fatal(err)
	}
	if n := descriptors(t); n != before {
		t.Errorf("%d descriptors are open, there were %d", n, before)
	}
	if err := <-read; err != io.EOF {
		t.Errorf("the reader gets %v, want the end", err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, unix.EPIPE) {
		t.Errorf("the writer gets %v, want EPIPE", err)
	}
	if _, err := s.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the peer gets %v, want the end", err)
	}
	if _, err := otherC.Write([]byte("x")); err != nil {
		t.Errorf("the other connection: %v", err)
	}
	if _, err := otherS.Read(make([]byte, 1)); err != nil {
		t.Errorf("the other connection: %v", err)
	}
}

// TestEndUDP ends sockets in both modes, whose peer goes on to send.
func TestEndUDP(t *testing.T) {
	for _, blocking := range []bool{true, false} {
		for _, connected := range []bool{true, false} {
			t.Run(fmt.Sprintf("blocking %v, connected %v", blocking, connected), func(t *testing.T) {
				testEndUDP(t, blocking, connected)
			})
		}
	}
}

func testEndUDP(t *testing.T, blocking, connected bool) {
	peer := udp(t, "")
	to := &unix.SockaddrInet4{Port: int(addrPort(peer.LocalAddr()).Port()), Addr: [4]byte{127, 0, 0, 1}}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, !blocking)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err == nil && connected {
		err = unix.Connect(fd, to)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	send := func() error {
		if connected {
			_, err := unix.Write(fd, []byte("x"))
			return err
		}
		return unix.Sendto(fd, []byte("x"), 0, to)
	}
	if err := send(); err != nil {
		t.Fatal(err)
	}
	_, from, err := peer.ReadFromUDPAddrPort(make([]byte, 1))
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		n   int
		err error
	}
	read := make(chan result)
	if blocking {
		go func() {
			n, err := unix.Read(fd, make([]byte, 1))
			read <- result{n, err}
		}()
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	if err := End(own(t, new(Lister), epoch)[st.Ino]); err != nil {
		t.Fatal(err)
	}
	if blocking {
		if r := <-read; r.n != 0 || r.err != nil {
			t.Errorf("the reader gets %d, %v, want nothing", r.n, r.err)
		}
	}
	if err := send(); err != unix.EPIPE {
		t.Errorf("the sender gets %v, want EPIPE", err)
	}
	if _, err := peer.WriteToUDPAddrPort([]byte("x"), from); err != nil {
		t.Fatal(err)
	}
	if n, _, err := unix.Recvfrom(fd, make([]byte, 1), unix.MSG_DONTWAIT); err != unix.EAGAIN {
		t.Errorf("it receives %d, %v, want EAGAIN", n, err)
	}
	if !blocking {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(p, 0); n != 0 || err != nil {
			t.Errorf("poll: %d, %v, events %#x, want none", n, err, p[0].Revents)
		}
	}
}

func TestEndListener(t *testing.T) {
	l, _, _ := pair(t, "tcp4", "127.0.0.1:0")
	if err := End(flowOf(t, l)); err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp4", l.Addr().String()); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("connect: got %v, %v, want ECONNREFUSED", c, err)
	}
}

// TestEndConnecting ends an attempt to connect, at which the listener's full
// queue keeps it.
func TestEndConnecting(t *testing.T) {
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err == nil {
		err = unix.Listen(l, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(l)
	to, err := unix.Getsockname(l)
	if err != nil {
		t.Fatal(err)
	}
	socket := func() int {
		t.Helper()
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	if err := unix.Connect(socket(), to); err != nil { // fills the queue
		t.Fatal(err)
	}
	fd := socket()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- unix.Connect(fd, to) }()
	var f Flow
	for end := time.Now().Add(time.Minute); f.State != StateSynSent; time.Sleep(time.Millisecond) {
		if f = own(t, new(Lister), epoch)[st.Ino]; time.Now().After(end) {
			t.Fatalf("got %+v, want one that is being connected", f)
		}
	}
	if err := End(f); err != nil {
		t.Error(err)
	}
	if err := <-done; err != unix.ECONNRESET {
		t.Errorf("connect: got %v, want ECONNRESET", err)
	}
}

// TestEndMoved ends a flow whose descriptor has another number by now.
func TestEndMoved(t *testing.T) {
	_, c, s := pair(t, "tcp4", "127.0.0.1:0")
	f := flowOf(t, c)
	other := udp(t, "127.0.0.1:9")
	f.owner.fd = flowOf(t, other).owner.fd
	if err := End(f); err != nil {
		t.Error(err)
	}
	if _, err := s.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the peer gets %v, want the end", err)
	}
	if _, err := other.Write([]byte("x")); err != nil {
		t.Errorf("what has the number now: %v", err)
	}
}

// TestEndGone has flows that are not there any more, with others in their place.
func TestEndGone(t *testing.T) {
	_, c, s := pair(t, "tcp4", "127.0.0.1:0")
	f := flowOf(t, c)
	tests := []struct {
		name   string
		change func(*Flow)
	}{
		{"another socket with its number", func(f *Flow) { f.Cookie++ }},
		{"no such socket", func(f *Flow) { f.Inode = 1 }},
		{"no such process", func(f *Flow) { f.PID, f.owner = 1<<30, owner{} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := f
			tt.change(&g)
			if err := End(g); !errors.Is(err, ErrGone) {
				t.Errorf("got %v, want that it is gone", err)
			}
			if _, err := c.Write([]byte("x")); err != nil {
				t.Errorf("the connection that there is: %v", err)
			}
		})
	}
	c.Close()
	s.Close()
	if err := End(f); !errors.Is(err, ErrGone) {
		t.Errorf("closed: got %v, want that it is gone", err)
	}
}
