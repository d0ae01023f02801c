package netns

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// startTimeout is how long pasta may take to be ready.
const startTimeout = 10 * time.Second

// args are pasta's, to join the namespaces of a process. It does not answer for
// names, and does not show the host's loopback under another address. Ports that
// are in use on one side it opens on the other: who gets there is not its business.
// It writes its process id when it is ready.
func args(pid int) []string {
	list := []string{
		"--foreground", "--quiet", "--config-net", "--pid", "/proc/self/fd/1",
		"--no-map-gw", "--no-dhcp", "--no-dhcpv6", "--no-ra",
		"--tcp-ports", "auto", "--udp-ports", "auto", "--tcp-ns", "auto", "--udp-ns", "auto",
	}
	if unix.Geteuid() == 0 { // which it would change to nobody, who may not join
		list = append(list, "--runas", fmt.Sprintf("%d:%d", unix.Geteuid(), unix.Getegid()))
	}
	return append(list, strconv.Itoa(pid))
}

// connect runs pasta for the namespaces of a process, and waits until the network
// there is the host's. The resolver's port is kept from it.
func (n *Net) connect(pasta string, pid int) (_ *exec.Cmd, err error) {
	if err := n.reserve(); err != nil {
		return nil, err
	}
	ready, theirReady, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	defer ready.Close()
	defer theirReady.Close()
	// Its standard input is the other end of its standard error: so there is
	// somebody who might read what it says as long as it runs, whoever else ends.
	said, theirSaid, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	defer said.Close()
	defer theirSaid.Close()
	cmd := exec.Command(pasta, args(pid)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Dir = said, theirReady, theirSaid, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, &Missing{fmt.Sprintf("%s does not run: %v", pasta, err), "install the package passt"}
	}
	theirReady.Close()
	if err := n.await(cmd, ready); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		theirSaid.Close()
		return nil, explain(pasta, said, err)
	}
	// What nobody reads any more is not written.
	if err := unix.SetNonblock(int(theirSaid.Fd()), true); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, fmt.Errorf("fcntl: %w", err)
	}
	return cmd, nil
}

// await waits until pasta is ready, and has it end with the jail.
func (n *Net) await(cmd *exec.Cmd, ready *os.File) error {
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		return fmt.Errorf("pidfd_open: %w", err)
	}
	n.pasta = os.NewFile(uintptr(fd), "pasta")
	if _, err := n.ask(askKill, n.pasta); err != nil {
		return err
	}
	if err := ready.SetReadDeadline(time.Now().Add(startTimeout)); err != nil {
		return err
	}
	_, err = ready.Read(make([]byte, 1))
	if err == io.EOF {
		err = errors.New("it has ended")
	}
	return err
}

// explain says what pasta said.
func explain(pasta string, said io.Reader, err error) error {
	buf, _ := io.ReadAll(io.LimitReader(said, 16<<10))
	var words []string
	for line := range bytes.Lines(buf) {
		if line = bytes.TrimSpace(line); len(line) > 0 && !bytes.HasPrefix(line, []byte("Failed to send ")) { // to syslog
			words = append(words, string(line))
		}
	}
	const most = 3 // it may have printed how it is to be used
	if len(words) > most {
		words = words[:most]
	}
	text := strings.Join(words, "; ")
	get := "try " + pasta + " --config-net true"
	if strings.Contains(text, "external interface") || strings.Contains(text, "interface with") {
		get = "it takes a network with a default route"
	}
	return &Missing{fmt.Sprintf("%s: %v: %s", pasta, err, text), get}
}

// reserve takes the port of the resolver inside on the host: pasta would open it
// there, and lead who comes to the resolver. Whoever has it already keeps pasta
// from that as well.
func (n *Net) reserve() error {
	if len(n.resolver) == 0 {
		return errors.New("the resolver has no socket")
	}
	at, err := unix.Getsockname(int(n.resolver[0].Fd()))
	v4, ok := at.(*unix.SockaddrInet4)
	if !ok {
		return fmt.Errorf("the resolver's socket has no port: %w", err)
	}
	_, err = n.hold(v4.Port)
	return err
}

// hold takes a port of the host's, or any that is free, and returns which.
func (n *Net) hold(port int) (int, error) {
	for _, s := range []struct{ domain, typ int }{
		{unix.AF_INET6, unix.SOCK_STREAM}, {unix.AF_INET6, unix.SOCK_DGRAM}, {unix.AF_INET, unix.SOCK_STREAM}, {unix.AF_INET, unix.SOCK_DGRAM},
	} {
		fd, err := unix.Socket(s.domain, s.typ|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			continue // no IPv6
		}
		var sa unix.Sockaddr = &unix.SockaddrInet4{Port: port}
		if s.domain == unix.AF_INET6 {
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
			sa = &unix.SockaddrInet6{Port: port, Addr: netip.IPv6Unspecified().As16()}
		}
		if err := unix.Bind(fd, sa); err != nil && err != unix.EADDRINUSE {
			unix.Close(fd)
			return 0, fmt.Errorf("reserve port %d: %w", port, err)
		}
		n.held = append(n.held, os.NewFile(uintptr(fd), "reserved"))
		if port != 0 {
			continue
		}
		switch at, _ := unix.Getsockname(fd); at := at.(type) {
		case *unix.SockaddrInet4:
			port = at.Port
		case *unix.SockaddrInet6:
			port = at.Port
		}
	}
	return port, nil
}
