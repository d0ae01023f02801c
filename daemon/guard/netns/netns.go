// Package netns makes a network of a jail's own: a user and a network namespace
// that the program is started in, with rules inside that drop what it was not
// allowed, and pasta (package passt) as the only way out. It takes no root.
//
//	n, err := netns.Start(netns.Config{})
//	user, net := n.Namespaces()          // for the program to enter
//	conn := n.Conn()                     // to say what is allowed, see package client
//	udp, tcp, err := n.Resolver()        // where the program asks for names
//	<-n.Done()                           // it is closed, by Close or by its end
//
// Three processes have a part in it. The caller, outside, is the owner of the user
// namespace and the one who knows what is allowed. A process of netjail's own,
// inside, has the rules: Start executes this very program under Name, and main must
// call Serve then. pasta, outside, has connections in place of the program. The
// program itself has no capability in the namespaces.
//
// The jail is closed when any of them ends, and when they are stopped: the rules
// let nothing pass that nobody has just confirmed, see nft.Alone; the process
// inside does so for as long as the caller is there, and kills pasta when it is not;
// the caller kills pasta when the process inside has ended.
//
// Loopback of the namespace is the jail's. pasta listens there at the ports that
// are in use on the host's loopback, and on the host at those that the jail listens
// at, a second after they are. Who gets through is decided by the rules alone.
package netns

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/guard/client"
	"github.com/netjail/netjail/daemon/guard/nft"
)

// Name is the name under which the process inside is started: main must call
// Serve when it is.
const Name = "netjail: network"

// Mark is for sockets that the program receives on, SO_MARK of socket(7): without
// it nobody reaches them over loopback, whatever Conn.Listen says. That is how all
// come that pasta hands on from the host's own loopback.
const Mark = nft.Mark

// Config says how to make a network. The zero value is fine.
type Config struct {
	Pasta string // the executable; "": found in PATH
}

// Net is the network of a jail.
type Net struct {
	conn          *client.Conn
	user, net     *os.File
	inside, pasta *os.File // pidfds of the processes
	held          []*os.File
	resolver      []*os.File
	done          chan struct{}

	mu    sync.Mutex
	asker *net.UnixConn // to the process inside
	err   error         // why it is done
}

// Start makes a network, and returns when it can be used. The caller has just one
// jail, and is dumpable as yet: it comes before interpose.Prepare. What is missing
// on this machine is a *Missing.
func Start(cfg Config) (_ *Net, err error) {
	pasta, err := find(cfg.Pasta)
	if err != nil {
		return nil, err
	}
	n := &Net{done: make(chan struct{})}
	inside, err := n.enter()
	if err != nil {
		n.drop()
		return nil, err
	}
	up, err := n.connect(pasta, inside.Process.Pid)
	if err != nil {
		n.drop()
		_ = inside.Process.Kill()
		_ = inside.Wait()
		return nil, err
	}
	go func() {
		n.watch()
		_, _ = inside.Wait(), up.Wait()
		close(n.done)
	}()
	return n, nil
}

// Conn is the connection to the process inside. The jail is there without Confine,
// and nothing is allowed in it.
func (n *Net) Conn() *client.Conn { return n.conn }

// Namespaces returns what the program enters. They are closed with n.
func (n *Net) Namespaces() (user, net *os.File) { return n.user, n.net }

// Link is what /proc/PID/ns/net of processes of the jail reads as.
func (n *Net) Link() string {
	var st unix.Stat_t
	_ = unix.Fstat(int(n.net.Fd()), &st)
	return "net:[" + strconv.FormatUint(st.Ino, 10) + "]"
}

// SockDiag returns a socket of NETLINK_SOCK_DIAG inside, which the caller closes.
func (n *Net) SockDiag() (int, error) {
	files, err := n.ask(askSockDiag, nil)
	if err != nil {
		return -1, err
	}
	defer files[0].Close()
	return unix.FcntlInt(files[0].Fd(), unix.F_DUPFD_CLOEXEC, 0)
}

// Listen listens on loopback inside, where the caller serves the jail. Who reaches
// it is said as of any other address. Its port is kept from pasta.
func (n *Net) Listen() (*net.TCPListener, error) {
	n.mu.Lock()
	port, err := n.hold(0)
	n.mu.Unlock()
	if err != nil {
		return nil, err
	}
	files, err := n.ask(askListen, nil, byte(port>>8), byte(port))
	if err != nil {
		return nil, err
	}
	defer files[0].Close()
	l, err := net.FileListener(files[0])
	if err != nil {
		return nil, fmt.Errorf("listen inside: %w", err)
	}
	return l.(*net.TCPListener), nil
}

// Resolver returns sockets on loopback inside, all at one port, where anybody in
// the jail may ask for names. The caller owns them.
func (n *Net) Resolver() (udp []*net.UDPConn, tcp []*net.TCPListener, err error) {
	for _, f := range n.resolver {
		if l, lerr := net.FileListener(f); lerr == nil {
			tcp = append(tcp, l.(*net.TCPListener))
			continue
		}
		c, cerr := net.FilePacketConn(f)
		if cerr != nil {
			err = fmt.Errorf("the resolver's socket: %w", cerr)
			continue
		}
		udp = append(udp, c.(*net.UDPConn))
	}
	return udp, tcp, err
}

// Done is closed when the jail is closed for good.
func (n *Net) Done() <-chan struct{} { return n.done }

// Err is why it is, when Close is not.
func (n *Net) Err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// Close closes the jail: what runs in it has no network any more. What its programs
// have sent before they ended has a second to get out.
func (n *Net) Close() error {
	_, _ = n.ask(askDrain, nil) // or there is nobody to send it
	err := n.conn.Close()
	<-n.done
	n.drop()
	return err
}

// watch waits for the end of one of the processes, and ends the other.
func (n *Net) watch() {
	p := []unix.PollFd{{Fd: int32(n.inside.Fd()), Events: unix.POLLIN}, {Fd: int32(n.pasta.Fd()), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(p, -1); err != unix.EINTR {
			break
		}
	}
	why := errors.New("pasta has ended, and the jail's network with it")
	if p[0].Revents != 0 {
		why = errors.New("the jail's network is closed")
	}
	n.mu.Lock()
	n.err = why
	n.mu.Unlock()
	for _, f := range []*os.File{n.pasta, n.inside} {
		_ = unix.PidfdSendSignal(int(f.Fd()), unix.SIGKILL, nil, 0)
	}
}

// drop closes what is open.
func (n *Net) drop() {
	if n.conn != nil {
		n.conn.Close()
	}
	if n.asker != nil {
		n.asker.Close()
	}
	for _, f := range n.files() {
		f.Close()
	}
}

// files are all that n has beside its connections.
func (n *Net) files() (list []*os.File) {
	for _, f := range []*os.File{n.user, n.net, n.inside, n.pasta} {
		if f != nil {
			list = append(list, f)
		}
	}
	return append(append(list, n.held...), n.resolver...)
}
