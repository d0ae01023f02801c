package interpose

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose/internal/sys"
)

const statusText = `Name:	a b
Umask:	0027
Tgid:	42
Threads:	3
SigPnd:	0000000000000002
ShdPnd:	0000000000010000
SigBlk:	0000000000000000
SigIgn:	0000000000001000
SigCgt:	0000000000000002
CapEff:	0000000000000400
`

func TestParseStatus(t *testing.T) {
	st, err := parseStatus([]byte(statusText))
	if err != nil {
		t.Fatal(err)
	}
	if st.tgid != 42 || st.threads != 3 || st.umask != 0o27 || st.effective != 0x400 {
		t.Errorf("got %+v", st)
	}
	for _, field := range []string{"Umask", "Tgid", "Threads", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "CapEff"} {
		if _, err := parseStatus([]byte(strings.Replace(statusText, field, "X"+field, 1))); err == nil {
			t.Errorf("without %s: no error", field)
		}
	}
	if _, err := parseStatus([]byte(strings.Replace(statusText, "42", "4x", 1))); err == nil {
		t.Error("a number that is none: no error")
	}
}

func TestDue(t *testing.T) {
	int2, chld := sigset(unix.SIGINT), sigset(unix.SIGCHLD)
	for _, c := range []struct {
		name         string
		st           status
		own, process uint64
	}{
		{"nothing", status{}, 0, 0},
		{"pending", status{pending: int2}, int2, 0},
		{"for the process", status{shared: int2}, 0, int2},
		{"blocked", status{pending: int2, shared: int2, blocked: int2}, 0, 0},
		{"ignored", status{pending: int2, ignored: int2}, 0, 0},
		{"harmless by default", status{pending: chld}, 0, 0},
		{"caught", status{pending: chld, caught: chld}, chld, 0},
	} {
		if own, process := c.st.due(); own != c.own || process != c.process {
			t.Errorf("%s: got %#x, %#x; want %#x, %#x", c.name, own, process, c.own, c.process)
		}
	}
}

// TestLone: of this process, which has many threads, and of one with one.
func TestLone(t *testing.T) {
	if !linksCountThreads() {
		t.Fatal("the links of a task directory do not tell the threads")
	}
	k := &call{}
	k.reset(nil, &sys.Notif{PID: uint32(os.Getpid())})
	if k.lone() {
		t.Error("this process has one thread")
	}
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	k.reset(nil, &sys.Notif{PID: uint32(cmd.Process.Pid)})
	if !k.lone() {
		t.Error("sleep has more than one thread")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if k.lone() {
		t.Error("a process that is gone has a thread")
	}
}
