package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// effort is how many system calls a supervisor may make for a call that a rule
// allows, receiving and answering among them.
var effort = []struct {
	work  string
	limit float64
}{{"udp-connect", 11.5}, {"sendto", 11.5}, {"sendmsg", 13.5}, {"sendmmsg", 16}}

// frugal are the repository's benchmarks of what must allocate little.
var frugal = []struct {
	what, pkg, bench string
	limit            int
}{
	{"between receiving a call and answering it", "./interpose", "BenchmarkConnect$", 0},
	{"deciding about a call", "./daemon/jail", "BenchmarkCheck/allowed/1$", 0},
	{"a decision of rules", "./rules", "BenchmarkDecide$", 0},
}

// smoke measures what is not noise, and fails where that is too much.
func (b *bench) smoke(out io.Writer) error {
	var errs []error
	for _, f := range frugal {
		_, allocs, err := goBench(f.pkg, f.bench, "2000x")
		if err == nil && allocs > f.limit {
			err = fmt.Errorf("%s: %d allocations, want at most %d", f.what, allocs, f.limit)
		}
		fmt.Fprintf(out, "%s: %d allocations\n", f.what, allocs)
		errs = append(errs, err)
	}
	for _, e := range effort {
		n, err := b.effort(e.work)
		if errors.Is(err, errRoot) && os.Getenv("NETJAIL_TEST_REQUIRE") == "" {
			fmt.Fprintln(out, "system calls of the supervisor: not counted:", err)
			break
		}
		if err == nil && n > e.limit {
			err = fmt.Errorf("%s: %.2f system calls of the supervisor, want at most %g", e.work, n, e.limit)
		}
		fmt.Fprintf(out, "%s: %.2f system calls of the supervisor\n", e.work, n)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// runtimes are the calls that the Go runtime makes of its own accord, and those of
// the timer that looks after receivers: how many depends on the clock.
var runtimes = []string{
	"futex", "nanosleep", "epoll_pwait", "epoll_wait", "sched_yield", "madvise", "tgkill", "getpid", "rt_sigreturn", "rt_sigprocmask",
	"restart_syscall", "mmap", "clone", "clone3", "sigaltstack", "gettid", "timerfd_settime", "read",
}

// effort counts the system calls that a supervisor makes for one of the jail's.
func (b *bench) effort(name string) (float64, error) {
	const count = 500
	if b.credential == nil {
		return 0, errRoot // it is not dumpable: nobody else may trace it
	}
	if err := need("strace"); err != nil {
		return 0, err
	}
	w, err := b.worker(b.jail("strict"))
	if err != nil {
		return 0, err
	}
	defer w.close()
	line := work(name, count, toFull)(w)
	if _, err := w.do(line); err != nil {
		return 0, err
	}
	table := filepath.Join(b.dir, "strace")
	cmd := exec.Command("strace", "-f", "-c", "-o", table, "-p", strconv.Itoa(w.pid()))
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	err = attached(w.pid(), cmd.Process.Pid)
	if err == nil {
		_, err = w.do(line)
	}
	_ = cmd.Process.Signal(unix.SIGINT)
	_ = cmd.Wait() // says how it was ended
	if err != nil {
		return 0, err
	}
	text, err := os.ReadFile(table)
	if err != nil {
		return 0, err
	}
	total, err := counted(string(text))
	return float64(total) / count, err
}

// attached waits until all threads of a process are traced by another.
func attached(pid, tracer int) error {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		missing := slices.ContainsFunc(files, func(name string) bool {
			text, _ := os.ReadFile(name)
			return !strings.Contains(string(text), fmt.Sprintf("TracerPid:\t%d\n", tracer))
		})
		if len(files) > 0 && !missing {
			return nil
		}
	}
	return fmt.Errorf("strace does not attach to process %d", pid)
}

// counted adds up the table that strace -c prints.
func counted(table string) (total int, err error) {
	for line := range strings.Lines(table) {
		words := strings.Fields(line)
		if len(words) < 5 || slices.Contains(runtimes, words[len(words)-1]) || words[len(words)-1] == "total" {
			continue
		}
		if n, err := strconv.Atoi(words[3]); err == nil {
			total += n
		}
	}
	if total == 0 {
		err = fmt.Errorf("no system calls in the table of strace:\n%s", table)
	}
	return total, err
}
