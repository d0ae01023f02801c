package netns

import (
	"bufio"
	"os"
	"strings"
	"time"
)

// How long what was sent may take to leave, and at least takes: of a datagram
// nobody tells.
const (
	drainTimeout = time.Second
	drainAtLeast = 20 * time.Millisecond
)

// drain waits until pasta has passed on what programs have sent that have ended: the
// kernel would have done so for others, while pasta is ended.
func drain() {
	if !used() {
		return
	}
	end := time.Now().Add(drainTimeout)
	for time.Sleep(drainAtLeast); underWay() && time.Now().Before(end); {
		time.Sleep(drainAtLeast / 4)
	}
}

// used says whether anything was sent in this network namespace: an interface has
// sent packets, the tenth number of its line in /proc/net/dev.
func used() bool {
	for fields := range lines("/proc/thread-self/net/dev") {
		if len(fields) > 10 && strings.HasSuffix(fields[0], ":") && fields[10] != "0" {
			return true
		}
	}
	return false
}

// underWay says whether there is a connection with something still to do: neither
// one that listens, nor one that waits for its time to be over (tcp_states.h).
func underWay() bool {
	const listen, timeWait = "0A", "06"
	for _, name := range []string{"tcp", "tcp6"} {
		for fields := range lines("/proc/thread-self/net/" + name) {
			if len(fields) > 3 && strings.HasSuffix(fields[0], ":") && fields[3] != listen && fields[3] != timeWait {
				return true
			}
		}
	}
	return false
}

// lines are the words of each line of a file.
func lines(path string) func(func([]string) bool) {
	return func(yield func([]string) bool) {
		f, err := os.Open(path)
		if err != nil {
			return
		}
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			if !yield(strings.Fields(s.Text())) {
				return
			}
		}
	}
}
