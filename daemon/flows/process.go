package flows

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxTables bounds how many descriptor tables of one process are looked at. A
// thread has one of its own only after unshare(CLONE_FILES).
const maxTables = 16

// owner is a descriptor that a socket has.
type owner struct{ pid, tid, fd int }

// scanned is what processes have open.
type scanned struct {
	owners map[uint64]owner // by inode: a socket's is the same in every namespace
	unseen int
}

// link is what processes have that are in the namespace.
func (n *Network) link() string {
	if n != nil {
		return n.Link
	}
	here, _ := os.Readlink("/proc/self/ns/net")
	return here
}

// scan looks into processes, which should be here. Those that have ended meanwhile
// have nothing.
func scan(pids []int, here string) *scanned {
	s := &scanned{owners: make(map[uint64]owner)}
	for _, pid := range pids {
		there, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/net")
		seen := err == nil && there == here
		for _, tid := range tables(pid) {
			if err := s.table(pid, tid); err != nil {
				seen = false
			}
		}
		// One that has ended, and is not reaped, has neither.
		if !seen && !ended(pid) {
			s.unseen++
		}
	}
	return s
}

// table looks at a thread's descriptors. Links are read and not followed: what
// a program has open may be on a file system that it serves itself.
func (s *scanned) table(pid, tid int) error {
	return sockets(pid, tid, func(fd int, inode uint64) bool {
		if _, known := s.owners[inode]; !known {
			s.owners[inode] = owner{pid, tid, fd}
		}
		return true
	})
}

// sockets visits the sockets that a thread has open, until visit returns false.
func sockets(pid, tid int, visit func(fd int, inode uint64) bool) error {
	dir, err := os.Open("/proc/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(tid) + "/fd")
	if err != nil {
		return err
	}
	defer dir.Close()
	list, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	at := int(dir.Fd())
	var buf [64]byte
	for _, name := range list {
		n, err := unix.Readlinkat(at, name, buf[:])
		if err != nil {
			continue // closed meanwhile
		}
		inode, ok := inodeOf(buf[:n])
		if !ok {
			continue
		}
		if fd, err := strconv.Atoi(name); err == nil && !visit(fd, inode) {
			break
		}
	}
	return nil
}

// inodeOf reads the number in "socket:[NUMBER]". A path begins with a slash.
func inodeOf(link []byte) (inode uint64, ok bool) {
	const prefix, suffix = "socket:[", "]"
	if len(link) <= len(prefix)+len(suffix) || string(link[:len(prefix)]) != prefix || link[len(link)-1] != ']' {
		return 0, false
	}
	for _, c := range link[len(prefix) : len(link)-len(suffix)] {
		if c < '0' || c > '9' || inode > 1<<59 {
			return 0, false
		}
		inode = inode*10 + uint64(c-'0')
	}
	return inode, true
}

// tables returns threads of a process that have all its descriptors between
// them: one, as a rule.
func tables(pid int) []int {
	list := []int{pid}
	entries, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		return list
	}
	for _, e := range entries {
		tid, err := strconv.Atoi(e.Name())
		if err != nil || len(list) >= maxTables {
			break
		}
		if !slices.ContainsFunc(list, func(other int) bool { return other == tid || !differ(other, tid) }) {
			list = append(list, tid)
		}
	}
	return list
}

// differ says whether two threads have different descriptor tables, as far as
// the kernel tells: kcmp(2) is an option of its build.
func differ(tid1, tid2 int) bool {
	const kcmpFiles = 2 // KCMP_FILES, linux/kcmp.h
	r, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(tid1), uintptr(tid2), kcmpFiles, 0, 0, 0)
	return errno == 0 && r != 0
}

// ended says whether nothing of a process is left but its exit code.
func ended(pid int) bool {
	_, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	return os.IsNotExist(err)
}

// programOf names the executable that a process runs, and keeps it in known.
func programOf(pid int, known map[int]string) string {
	name, ok := known[pid]
	if !ok {
		if exe, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe"); err == nil {
			name = filepath.Base(strings.TrimSuffix(exe, " (deleted)"))
		}
		known[pid] = name
	}
	return name
}
