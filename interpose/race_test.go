package interpose

import (
	"fmt"
	"maps"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// raceTries is how often each attack is tried: $NETJAIL_RACE_TRIES, 1,000,000
// in contrib/race, fewer where each call costs a hundred times as much.
// A try that stalls costs thirty times as much.
func raceTries(t *testing.T, name string) int {
	s := os.Getenv("NETJAIL_RACE_TRIES")
	if s == "" {
		if strings.HasPrefix(name, stalled) {
			return 1000
		}
		return 10_000
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// stalled begins the name of an attack of stalledAttacks.
const stalled = "stalled "

// attackNames are those that can be made here.
func attackNames(t *testing.T) (names []string) {
	t.Helper()
	for name := range attacks {
		if strings.HasPrefix(name, "absent") && !canUffd(t, false) {
			continue
		}
		names = append(names, name)
	}
	if canUffd(t, true) {
		for name := range stalledAttacks {
			names = append(names, stalled+name)
		}
	}
	slices.Sort(names)
	return names
}

func init() { victims["attacks"] = listAttacks }

// listAttacks prints those that can be made everywhere, for others who run them.
func listAttacks() {
	for _, name := range slices.Sorted(maps.Keys(attacks)) {
		if !strings.HasPrefix(name, "absent") {
			fmt.Println(name)
		}
	}
}

// canUffd says whether there is a userfaultfd here. Kernel faults need
// privileges.
func canUffd(t *testing.T, kernelFaults bool) bool {
	t.Helper()
	fd, err := openUffd(kernelFaults)
	if err == nil {
		unix.Close(fd)
		return true
	}
	if os.Getenv("NETJAIL_TEST_REQUIRE") == "1" && (!kernelFaults || os.Getuid() == 0) {
		t.Fatal("userfaultfd: ", err)
	}
	t.Logf("no userfaultfd, kernel faults %v: %v", kernelFaults, err)
	return false
}

// mark is the datagram with which a test finds out that all before it have
// been counted. It may be sent several times, and is counted apart.
const mark = "mark"

// counter receives datagrams and counts them, and marks.
func counter(t *testing.T) (addr string, count, marks *atomic.Int64) {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadBuffer(8 << 20)
	count, marks = new(atomic.Int64), new(atomic.Int64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 10)
		for {
			n, err := c.Read(buf)
			switch {
			case err != nil:
				return
			case string(buf[:n]) == mark:
				marks.Add(1)
			default:
				count.Add(1)
			}
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return c.LocalAddr().String(), count, marks
}

// runRace runs one attack in a jail that allows one address, and returns how
// many datagrams arrived there, and at the other one.
func runRace(t *testing.T, name string, threads, tries int) (good, bad int64) {
	t.Helper()
	goodAddr, goodCount, goodMarks := counter(t)
	badAddr, badCount, badMarks := counter(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{
		"NETJAIL_VICTIM": "race", "NETJAIL_RACE": name, "NETJAIL_GOOD": goodAddr, "NETJAIL_BAD": badAddr,
		"NETJAIL_THREADS": strconv.Itoa(threads), "NETJAIL_TRIES": strconv.Itoa(tries),
	} {
		t.Setenv(k, v)
	}
	p := policy{check: func(c *Call) Verdict {
		if c.Network == Unix || c.Addr.String() == goodAddr {
			return Allow
		}
		return Deny
	}}
	out, ws := run(t, p, self)
	if ws.ExitStatus() != 0 || !strings.Contains(out, fmt.Sprint("tried ", tries)) {
		t.Fatalf("%s: status %v, printed %q", name, ws, out)
	}
	// What was sent on loopback is in the socket by now: read it.
	settle(t, goodAddr, goodMarks)
	settle(t, badAddr, badMarks)
	return goodCount.Load(), badCount.Load()
}

// settle waits until what is queued was counted, by a datagram behind it all.
func settle(t *testing.T, addr string, marks *atomic.Int64) {
	t.Helper()
	c, err := net.Dial("udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for tries := 0; ; tries++ {
		// A full buffer loses it: once more then.
		if _, err := c.Write([]byte(mark)); err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			if marks.Load() > 0 {
				return
			}
			runtime.Gosched()
		}
		if tries > 1000 {
			t.Fatal("the receiver does not count")
		}
	}
}

// TestRaces: no datagram gets to the denied address. Without a Landlock domain,
// which has no part in it, fewer tries are enough.
func TestRaces(t *testing.T) {
	for _, name := range attackNames(t) {
		for _, tt := range []struct {
			threads int
			guard   string
			d       Domain
			tries   int
		}{
			{2, "", Domain{}, raceTries(t, name)},
			{8, "", Domain{}, raceTries(t, name)},
			{2, ", strict", Domain{None: true}, max(1, raceTries(t, name)/10)},
		} {
			tries := tt.tries
			t.Run(fmt.Sprintf("%s, %d threads%s", name, tt.threads, tt.guard), func(t *testing.T) {
				inDomain(t, tt.d)
				good, bad := runRace(t, name, tt.threads, tries)
				t.Logf("%d tries: %d datagrams at the allowed address, %d at the denied one", tries, good, bad)
				if good == 0 || bad != 0 {
					t.Errorf("%d datagrams at the allowed address, want some; %d at the denied one, want none", good, bad)
				}
			})
		}
	}
}

// TestRacesAreFound: against a supervisor that checks and lets the kernel do
// the call, the same attacks get through.
func TestRacesAreFound(t *testing.T) {
	right := perform
	perform = func(func() result) result { return result{proceed: true} }
	defer func() { perform = right }()
	for _, name := range attackNames(t) {
		t.Run(name, func(t *testing.T) {
			for tries := 2 * raceTries(t, name); tries <= 2_000_000; tries *= 10 {
				if good, bad := runRace(t, name, 2, tries); bad > 0 {
					t.Logf("%d tries: %d datagrams at the allowed address, %d at the denied one", tries, good, bad)
					return
				}
			}
			t.Error("the harness found no leak where there is one")
		})
	}
}
