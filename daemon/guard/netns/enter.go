package netns

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/guard/client"
)

// Missing is what a machine lacks for a network of a jail's own.
type Missing struct {
	What string
	Get  string // what to do about it
}

func (m *Missing) Error() string { return m.What }

// Probe tries whether a network can be made here, without pasta running. What is
// missing is a *Missing.
func Probe() error {
	if _, err := find(""); err != nil {
		return err
	}
	n := new(Net)
	defer n.drop()
	inside, err := n.enter()
	if err != nil {
		return err
	}
	n.conn.Close()
	return inside.Wait()
}

// enter starts the process inside and waits until it has made what is to be made
// there. It ends with the connection.
func (n *Net) enter() (*exec.Cmd, error) {
	if dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err == nil && dumpable != 1 && unix.Geteuid() != 0 {
		return nil, errors.New("a network is made before the caller ceases to be dumpable: the maps of its children are root's then")
	}
	talk, theirTalk, err := pair(unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	defer theirTalk.Close()
	asker, theirAsker, err := pair(unix.SOCK_SEQPACKET)
	if err != nil {
		talk.Close()
		return nil, err
	}
	defer theirAsker.Close()
	if n.conn, err = client.Resume(talk, nil); err == nil {
		n.asker, err = connOf(asker)
	} else {
		asker.Close()
	}
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args, cmd.Env, cmd.Dir = []string{Name}, []string{}, "/"
	cmd.ExtraFiles = []*os.File{theirTalk, theirAsker}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: same(unix.Geteuid()), GidMappings: same(unix.Getegid()),
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN},
		Setsid:      true, // what is typed at the terminal is for the program
	}
	if err := cmd.Start(); err != nil {
		return nil, noNamespaces(err)
	}
	theirTalk.Close()
	theirAsker.Close()
	if err := n.adopt(cmd.Process.Pid); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, err
	}
	return cmd, nil
}

// adopt takes what the process inside has made, and gets hold of it.
func (n *Net) adopt(pid int) (err error) {
	if n.resolver, err = n.ask(askReady, nil); errors.Is(err, io.EOF) {
		err = errors.New("the process inside has ended")
	}
	if err != nil {
		return noNamespaces(err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("pidfd_open: %w", err)
	}
	n.inside = os.NewFile(uintptr(fd), "inside")
	dir := filepath.Join("/proc", strconv.Itoa(pid), "ns")
	if n.user, err = os.Open(filepath.Join(dir, "user")); err != nil {
		return err
	}
	n.net, err = os.Open(filepath.Join(dir, "net"))
	return err
}

// same maps an id to itself, and no other: those of others are nobody's inside.
func same(id int) []syscall.SysProcIDMap {
	return []syscall.SysProcIDMap{{ContainerID: id, HostID: id, Size: 1}}
}

// pair makes two sockets that are connected.
func pair(typ int) (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs"), nil
}

// connOf makes a connection of a socket. It owns f.
func connOf(f *os.File) (*net.UnixConn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	uc, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("that is no local socket")
	}
	return uc, nil
}

// noNamespaces says why there are none, and what to do.
func noNamespaces(err error) error {
	word := func(name string) string {
		b, _ := os.ReadFile(filepath.Join("/proc/sys", name))
		return strings.TrimSpace(string(b))
	}
	get := "a container's seccomp profile, or a security module, forbids it"
	switch {
	case word("kernel/apparmor_restrict_unprivileged_userns") == "1":
		get = "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with userns for netjail"
	case word("kernel/unprivileged_userns_clone") == "0":
		get = "sudo sysctl kernel.unprivileged_userns_clone=1"
	case word("user/max_user_namespaces") == "0":
		get = "sudo sysctl user.max_user_namespaces=15000"
	case word("user/max_net_namespaces") == "0":
		get = "sudo sysctl user.max_net_namespaces=15000"
	case strings.Contains(err.Error(), "nftables"):
		get = "it takes a kernel with nf_tables (sudo modprobe nf_tables)"
	}
	return &Missing{fmt.Sprintf("no user and network namespace can be made: %v", err), get}
}

// find finds pasta, and what it needs.
func find(pasta string) (string, error) {
	if pasta == "" {
		path, err := exec.LookPath("pasta")
		if err != nil {
			return "", &Missing{"pasta is not in PATH", "install the package passt"}
		}
		pasta = path
	}
	const tun = "/dev/net/tun"
	fd, err := unix.Open(tun, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "", &Missing{fmt.Sprintf("open %s: %v", tun, err), "sudo chmod 666 " + tun}
	case err != nil:
		return "", &Missing{fmt.Sprintf("open %s: %v", tun, err), "sudo modprobe tun"}
	}
	unix.Close(fd)
	return pasta, nil
}

// askTimeout is how long the process inside may take for an answer.
const askTimeout = 10 * time.Second
