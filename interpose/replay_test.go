package interpose

import (
	"net"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose/internal/sys"
)

// TestOnceUnderSignals sends numbered datagrams while signals keep coming: each
// arrives once, whoever was interrupted where, if the kernel can help it.
func TestOnceUnderSignals(t *testing.T) {
	const datagrams = 3000
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadBuffer(8 << 20)
	var got [datagrams]int
	total, done := 0, make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 16)
		for {
			n, err := c.Read(buf)
			if err != nil || string(buf[:n]) == mark {
				return
			}
			if i, err := strconv.Atoi(string(buf[:n])); err == nil && i < datagrams {
				got[i]++
				total++
			}
		}
	}()
	out, _ := run(t, allowAll, python, "-c", `
import signal, socket, sys
count = 0
def handler(*_):
    global count
    count += 1
signal.signal(signal.SIGALRM, handler)
signal.siginterrupt(signal.SIGALRM, False)
host, port = sys.argv[1].rsplit(":", 1)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
for i in range(int(sys.argv[2])):
    s.sendto(b"%d" % i, (host, int(port)))
signal.setitimer(signal.ITIMER_REAL, 0, 0)
print(count > 100)
`, c.LocalAddr().String(), strconv.Itoa(datagrams))
	if out != "True\n" {
		t.Errorf("printed %q: too few signals came", out)
	}
	for {
		if err := send(c.LocalAddr().String(), mark); err != nil {
			t.Fatal(err)
		}
		select {
		case <-done:
		case <-time.After(10 * time.Millisecond):
			continue
		}
		break
	}
	missing, twice := 0, 0
	for _, n := range got {
		switch {
		case n == 0:
			missing++
		case n > 1:
			twice++
		}
	}
	t.Logf("%d datagrams arrived, %d of them twice", total, twice)
	if missing > 0 {
		t.Errorf("%d are missing", missing)
	}
	// Without WAIT_KILLABLE_RECV some come twice, see replay: how many depends
	// on how long it takes to wake the caller up. Without replay it is one in six.
	if twice > 0 && sys.WaitKillable() {
		t.Errorf("%d arrived more than once", twice)
	}
}

// TestReplay: a call that comes again gets the answer that did not reach it, and
// no other call does.
func TestReplay(t *testing.T) {
	n := sys.Notif{ID: 1, PID: 7, Data: sys.Data{Nr: unix.SYS_SENDTO, Args: [6]uint64{3}}}
	again, other, otherThread := n, n, n
	again.ID, other.ID, otherThread.ID = 2, 3, 4
	other.Data.Args[0], otherThread.PID = 4, 8
	for _, c := range []struct {
		name   string
		on     bool
		resp   sys.Resp
		next   *sys.Notif
		answer bool
	}{
		{"the same call", true, sys.Resp{ID: 1, Val: 5}, &again, true},
		{"a refusal", true, sys.Resp{ID: 1, Error: -13}, &again, true},
		{"another call", true, sys.Resp{ID: 1, Val: 5}, &other, false},
		{"another thread", true, sys.Resp{ID: 1, Val: 5}, &otherThread, false},
		{"a call that the kernel was to perform", true, sys.Resp{ID: 1, Flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}, &again, false},
		{"a kernel that needs none of it", false, sys.Resp{ID: 1, Val: 5}, &again, false},
	} {
		p := newReplay(c.on)
		k := &call{n: n}
		if _, answered := p.begin(&n); answered {
			t.Fatalf("%s: answered before it was performed", c.name)
		}
		p.note(k, c.resp)
		p.end(&n)
		got, answered := p.begin(c.next)
		if answered != c.answer || answered && (got.ID != c.next.ID || got.Val != c.resp.Val || got.Error != c.resp.Error) {
			t.Errorf("%s: answered %v with %+v, want %v", c.name, answered, got, c.answer)
		}
		if answered {
			if _, twice := p.begin(c.next); twice {
				t.Errorf("%s: answered once more", c.name)
			}
		}
		p.end(c.next)
	}
	// It may come before the first receiver knows.
	p := newReplay(true)
	p.begin(&n)
	came := make(chan bool)
	go func() {
		_, answered := p.begin(&again)
		came <- answered
	}()
	select {
	case <-came:
		t.Fatal("it did not wait for the call before it")
	case <-time.After(10 * time.Millisecond):
	}
	p.note(&call{n: n}, sys.Resp{ID: 1, Val: 5})
	p.end(&n)
	if !<-came {
		t.Error("performed twice")
	}
}

func send(addr, data string) error {
	c, err := net.Dial("udp4", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(data))
	return err
}
