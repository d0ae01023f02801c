package interpose

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// status is what /proc/TID/status says of a thread, see proc_pid_status(5).
type status struct {
	stopped         bool // by a signal
	tgid, threads   int
	umask           int
	pending, shared uint64 // signals pending for the thread, and for its process
	blocked         uint64
	ignored, caught uint64
	effective       uint64 // capabilities
}

func readStatus(tid int) (status, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(tid) + "/status")
	if err != nil {
		return status{}, err
	}
	return parseStatus(b)
}

// parseStatus decodes the fields named in status. A file without them, or with
// others than numbers in them, is an error: nothing is assumed of a thread.
func parseStatus(b []byte) (status, error) {
	var st status
	var tgid, threads, umask uint64
	fields := map[string]struct {
		to   *uint64
		base int
	}{
		"Tgid": {&tgid, 10}, "Threads": {&threads, 10}, "Umask": {&umask, 8},
		"SigPnd": {&st.pending, 16}, "ShdPnd": {&st.shared, 16}, "SigBlk": {&st.blocked, 16},
		"SigIgn": {&st.ignored, 16}, "SigCgt": {&st.caught, 16}, "CapEff": {&st.effective, 16},
	}
	missing := len(fields)
	for line := range bytes.Lines(b) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		if string(name) == "State" {
			st.stopped = bytes.HasPrefix(value, []byte("T"))
		}
		f, ok := fields[string(name)]
		if !ok {
			continue
		}
		v, err := strconv.ParseUint(string(value), f.base, 64)
		if err != nil {
			return status{}, fmt.Errorf("parse status: %s: %w", name, err)
		}
		*f.to = v
		missing--
	}
	if missing != 0 {
		return status{}, fmt.Errorf("parse status: %d fields missing", missing)
	}
	st.tgid, st.threads, st.umask = int(tgid), int(threads), int(umask)
	return st, nil
}

// lone says whether the caller is the only thread of its process. To look at the
// links of a directory takes a tenth of the time that it takes to read a status,
// for which the kernel adds up signals and memory.
func (k *call) lone() bool {
	if !linksCountThreads() {
		st, err := readStatus(k.tid())
		return err == nil && st.threads == 1 && st.tgid == k.tid()
	}
	return links(k.proc("task")) == 2+1
}

// linksCountThreads says whether a process's task directory has two links and one
// for each thread, as proc_task_getattr of fs/proc/base.c makes it.
var linksCountThreads = sync.OnceValue(func() bool {
	const task = "/proc/self/task"
	for range 10 { // a thread may begin or end meanwhile
		before := links(task)
		st, err := readStatus(unix.Getpid())
		if err == nil && before == uint64(st.threads)+2 && links(task) == before {
			return true
		}
	}
	return false
})

// links returns how many hard links there are, or 0.
func links(path string) uint64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return uint64(st.Nlink)
}

func sigset(signals ...unix.Signal) uint64 {
	var s uint64
	for _, sig := range signals {
		s |= 1 << (sig - 1)
	}
	return s
}

// harmless signals do nothing unless they are caught, see signal(7).
var harmless = sigset(unix.SIGCHLD, unix.SIGCONT, unix.SIGURG, unix.SIGWINCH)

// maxSiblings bounds how many threads of a process are looked at.
const maxSiblings = 256

// stopping says whether a thread of the process has stopped: a signal that
// stops one stops all, and with WAIT_KILLABLE_RECV a thread whose call waits
// would keep that from being finished.
func stopping(tgid int) bool {
	tasks, _ := os.ReadDir("/proc/" + strconv.Itoa(tgid) + "/task")
	for _, t := range tasks[:min(len(tasks), maxSiblings)] {
		tid, _ := strconv.Atoi(t.Name())
		if st, err := readStatus(tid); err == nil && st.stopped {
			return true
		}
	}
	return false
}

// due returns, of the thread's own and of its process's pending signals, those
// that would interrupt a call: neither blocked nor ignored.
func (st *status) due() (own, process uint64) {
	can := ^st.blocked &^ st.ignored &^ (harmless &^ st.caught)
	return st.pending & can, st.shared & can
}
