package interpose

import (
	"context"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose/internal/sys"
	"github.com/netjail/netjail/interpose/sockaddr"
)

// unixPeer resolves an AF_UNIX address in the caller's root and directory, and
// pins what it names: what is decided about is what is used, whatever happens
// to the path meanwhile. It returns the address to use.
func (k *call) unixPeer(op Op, addr []byte) (*Call, []byte, unix.Errno) {
	a, errno := sockaddr.Parse(addr)
	if errno == unix.EAFNOSUPPORT || errno == 0 && (a.Family != unix.AF_UNIX || a.Unix == "") {
		errno = unix.EINVAL // unix_validate_addr, net/unix/af_unix.c
	}
	if errno != 0 {
		return nil, nil, errno
	}
	if addr[2] == 0 {
		return &Call{Op: op, Network: Unix, Path: a.Unix}, addr, 0
	}
	fd, errno := k.openPath(a.Unix, unix.O_PATH)
	if errno != 0 {
		return nil, nil, errno
	}
	k.pin(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, nil, unix.EACCES
	}
	self := "/proc/self/fd/" + strconv.Itoa(fd)
	name, err := os.Readlink(self)
	if err != nil {
		return nil, nil, unix.EACCES
	}
	c := &Call{Op: op, Network: Unix, Path: name, File: File{st.Dev, st.Ino}}
	return c, sockaddr.Unix(self), 0
}

// openPath opens a path as the caller would: in its root, and a relative one
// from its working directory.
func (k *call) openPath(name string, flags int) (int, unix.Errno) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC)}
	how.Resolve = unix.RESOLVE_NO_MAGICLINKS // they would be the supervisor's
	base := k.proc("cwd")
	if !strings.HasPrefix(name, "/") && !k.sameRoot() {
		// Neither ".." nor a symlink may lead out of the caller's root.
		cwd, errno := k.cwd()
		if errno != 0 {
			return -1, errno
		}
		name = cwd + "/" + name
	}
	if strings.HasPrefix(name, "/") {
		base = k.proc("root")
		how.Resolve = unix.RESOLVE_IN_ROOT
	}
	dir, err := unix.Open(base, unix.O_PATH|unix.O_CLOEXEC|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, errnoOf(err)
	}
	defer sys.Close(dir)
	fd, err := unix.Openat2(dir, name, &how)
	return fd, errnoOf(err)
}

// cwd returns the caller's working directory as seen from its root.
func (k *call) cwd() (string, unix.Errno) {
	root, err := os.Readlink(k.proc("root"))
	dir, err2 := os.Readlink(k.proc("cwd"))
	rel, below := strings.CutPrefix(dir, strings.TrimSuffix(root, "/"))
	if err != nil || err2 != nil || !below || rel != "" && rel[0] != '/' {
		return "", unix.EACCES // a directory from before chroot(2)
	}
	return rel, 0
}

func errnoOf(err error) unix.Errno {
	if err == nil {
		return 0
	}
	if errno, ok := err.(unix.Errno); ok {
		return errno
	}
	return unix.EACCES
}

// connectUnix connects to a local socket. It is always done on the duplicate:
// the peer sees the supervisor's process id, which is of the same user and in
// the same cgroup.
func (k *call) connectUnix(addr []byte) result {
	if unspec(addr) {
		return k.connectNowhere(addr)
	}
	c, to, errno := k.unixPeer(Connect, addr)
	if errno != 0 {
		return k.ifValid(errno)
	}
	return k.decide(c, func() result { return k.connectTo(to) })
}

// bindUnix gives a socket a local name. A path is made with the caller's
// directory and umask, by a thread that has both for itself and ends with it.
func (k *call) bindUnix(addr []byte) result {
	a, errno := sockaddr.Parse(addr)
	if errno == unix.EAFNOSUPPORT || errno == 0 && a.Family != unix.AF_UNIX {
		errno = unix.EINVAL
	}
	if errno != 0 {
		return k.ifValid(errno)
	}
	if a.Unix == "" || addr[2] == 0 {
		return k.decideLocal(func() result { return done(sys.Bind(k.socket.fd, addr)) })
	}
	st, err := readStatus(k.tid())
	if err != nil {
		return gone
	}
	dir, use, errno := k.bindDir(a.Unix, addr)
	if errno != 0 {
		return k.ifValid(errno)
	}
	k.pin(dir)
	return k.decideLocal(func() result {
		return result{later: func(context.Context) result {
			runtime.LockOSThread() // for good: the thread ends with the goroutine
			if unix.Unshare(unix.CLONE_FS) != nil || unix.Fchdir(dir) != nil {
				return fail(unix.EACCES)
			}
			unix.Umask(st.umask)
			return done(sys.Bind(k.socket.fd, use))
		}}
	})
}

// bindDir returns the directory to bind in, and the address to use there. In
// the supervisor's own root the address is the caller's, so that the name it
// reads back is the one it gave; in another root it is relative.
func (k *call) bindDir(name string, addr []byte) (dir int, use []byte, errno unix.Errno) {
	if k.sameRoot() {
		at := "."
		if strings.HasPrefix(name, "/") {
			at = "/" // the caller may have no right to where it is
		}
		dir, errno = k.openPath(at, unix.O_PATH|unix.O_DIRECTORY)
		return dir, addr, errno
	}
	base, last := path.Split(name)
	if base == "" {
		base = "."
	}
	dir, errno = k.openPath(base, unix.O_PATH|unix.O_DIRECTORY)
	return dir, sockaddr.Unix(last), errno
}

func (k *call) sameRoot() bool {
	return sameFile("/", k.proc("root")) && sameFile("/proc/self/ns/mnt", k.proc("ns/mnt"))
}

// sameFile says whether two paths name one file, or namespace.
func sameFile(a, b string) bool {
	var x, y unix.Stat_t
	return unix.Stat(a, &x) == nil && unix.Stat(b, &y) == nil && x.Dev == y.Dev && x.Ino == y.Ino
}
