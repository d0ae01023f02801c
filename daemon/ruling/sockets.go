package ruling

import (
	"os"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/rules"
)

// File names a socket in a file system.
type File struct {
	Dev, Ino uint64
}

// FileAt returns what is at a path, if there is something.
func FileAt(path string) (f File, ok bool) {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return f, false
	}
	return File{Dev: st.Dev, Ino: st.Ino}, true
}

// Sockets are those that a jail has no business with: netjail's own, whatever
// the rules say, one that a rule denies under another name, and those through
// which somebody else would use the network for the program, unless a rule
// speaks of them. They stay known when a program in the jail renames them, which
// it may.
type Sockets struct {
	mu    sync.Mutex
	known map[File]noted
}

// noted is what a socket was known as.
type noted struct {
	why  reserve
	path string
}

// reserve says why a socket is reserved, the strictest last.
type reserve uint8

const (
	nobodys reserve = iota
	broker
	denied
	own
)

// DeniedSockets returns the paths of sockets that rules deny.
func DeniedSockets(list []rules.Rule) (paths []string) {
	for i := range list {
		if h := list[i].Dest.Host; h.Kind == rules.HostUnix && list[i].Verdict == rules.Deny && h.Name[0] == '/' {
			paths = append(paths, h.Name)
		}
	}
	return paths
}

// Look notes which sockets are reserved as they are now: those that rules deny,
// the daemon's, and the brokers.
func (s *Sockets) Look(deniedPaths []string, daemon string) {
	s.look(brokers(), broker)
	s.look(deniedPaths, denied)
	s.look([]string{daemon}, own)
}

func (s *Sockets) look(paths []string, why reserve) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = make(map[File]noted)
	}
	for _, path := range paths {
		if f, ok := FileAt(path); ok && s.known[f].why <= why {
			s.known[f] = noted{why, path}
		}
	}
}

// Reserved says whether a socket is kept from programs although the rule, or
// none, allows it. deniedPaths are those that rules deny now.
func (s *Sockets) Reserved(f File, deniedPaths []string, by *rules.Rule) bool {
	s.mu.Lock()
	n := s.known[f]
	s.mu.Unlock()
	switch n.why {
	case own:
		return true
	case denied:
		return slices.Contains(deniedPaths, n.path)
	case broker:
		return by == nil
	}
	return false
}

// brokers lists the sockets of services that look names up, start processes or
// run containers for whoever asks. They are compared by inode: a program may
// have other names for them.
func brokers() []string {
	list := []string{
		"/run/nscd/socket", "/var/run/nscd/socket",
		"/run/systemd/resolve/io.systemd.Resolve", "/run/systemd/resolve/io.systemd.Resolve.Monitor",
		// By the system bus systemd-resolved looks names up for everybody.
		"/run/dbus/system_bus_socket", "/var/run/dbus/system_bus_socket",
		"/run/systemd/private", "/run/docker.sock", "/var/run/docker.sock",
		"/run/containerd/containerd.sock", "/run/podman/podman.sock", "/run/crio/crio.sock",
		"/run/libvirt/libvirt-sock", "/run/snapd.socket", "/run/snapd-snap.socket",
		"/var/lib/lxd/unix.socket", "/var/lib/incus/unix.socket", "/run/avahi-daemon/socket",
	}
	user := "/run/user/" + strconv.Itoa(os.Getuid())
	for _, base := range []string{user, os.Getenv("XDG_RUNTIME_DIR")} {
		if base != "" {
			list = append(list, base+"/systemd/private", base+"/docker.sock", base+"/podman/podman.sock")
		}
	}
	return list
}
