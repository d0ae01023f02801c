package service

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Where supervisors answer for servers.
const resolver4, resolver6 = "127.0.0.1:5300", "[::1]:5300"

func resolverFor(server string) string {
	if strings.HasPrefix(server, "[") {
		return resolver6
	}
	return resolver4
}

// still makes sure that no more packets arrive while something is done.
func (s *scene) still(whats []string, do func()) {
	s.t.Helper()
	count := func() string {
		var n []int
		for _, what := range whats {
			n = append(n, s.count(what))
		}
		return fmt.Sprint(n)
	}
	before := count()
	do()
	time.Sleep(100 * time.Millisecond)
	if after := count(); after != before {
		s.t.Errorf("packets of %v arrived: %s, then %s", whats, before, after)
	}
}

// TestLead: what goes to a server is answered for it, however it is sent, and
// nothing arrives there.
func TestLead(t *testing.T) {
	s := newScene(t)
	bare, other := s.supervisor(user1), s.jail(user2)
	bare.want(t, "ok", "start")
	each(t, func(t *testing.T, w, _ string) {
		j := s.jail(user1)
		to := resolverFor(w)
		at := func(port int) string { return fmt.Sprintf("%s:%d", w, port) }
		arrives := []string{"tcp " + at(80), "udp " + at(80), "udp " + at(81), "unreachable " + strings.Trim(w, "[]"), "udp " + to, "arp 127.0.0.1"}
		j.want(t, "ok", "answer %s", to)

		s.still(arrives, func() {
			j.want(t, "not", "v dial udp %s", at(80))
			j.want(t, "not", "v dial tcp %s", at(80))
		})
		j.want(t, "ok", "allow udp %s tcp %s", at(80), at(80))
		n := s.count(arrives[0]) + s.count(arrives[1])
		j.want(t, "ok", "v udp %s", at(80))
		j.want(t, "ok", "v hold tcp %s", at(80))
		if s.count(arrives[0])+s.count(arrives[1]) < n+2 {
			t.Error("what was allowed did not arrive")
		}

		j.want(t, "ok", "lead %s %s %s", to, at(80), at(81))
		s.still(arrives, func() {
			j.want(t, "ok", "v udp %s", at(80)) // by the same socket
			j.want(t, "ok", "v udp %s", at(81))
			j.want(t, "ok", "v udp %s", at(80))
			j.want(t, "ok", "v dial udp %s", at(80))
			j.want(t, "not", "v echo") // a connection to the server
			for range 5 {
				j.want(t, "ok", "v dial tcp %s", at(80))
			}
			j.want(t, "ok", "v hold tcp %s", at(80))
			j.want(t, "ok", "v echo")
			j.want(t, "ok", "v from 0 %s late", at(80))
			time.Sleep(2 * lateness)
			j.want(t, "not", "v from 0 %s njt0", at(80))
			other.want(t, "not", "v dial udp %s", at(80))
		})
		j.want(t, "not", "v udp %s", at(82))
		n = s.count("udp " + at(80))
		bare.want(t, "ok", "v dial udp %s", at(80))
		bare.want(t, "ok", "v from 0 %s njt0", at(80))
		if got := s.count("udp " + at(80)); got != n+2 {
			t.Errorf("from no jail: %d packets arrived, want 2", got-n)
		}
		// That an error would have been seen.
		s.world.want(t, "not", "dial udp %s:9999", map[bool]string{false: client4, true: "[" + client6 + "]"}[w[0] == '['])
		soon(t, "an error has arrived", func() bool { return s.count(arrives[3]) > 0 })

		s.still(arrives, func() {
			j.want(t, "ok", "deny udp %s", at(80))
			j.want(t, "not", "v udp %s", at(80))
			j.want(t, "ok", "v udp %s", at(81))
			j.want(t, "ok", "forget udp %s", at(80))
			j.want(t, "ok", "v udp %s", at(80))
			j.want(t, "ok", "hangup")
			soon(t, "nothing is led", func() bool { return !strings.Contains(ruleset(t), "5300") })
			j.want(t, "not", "v udp %s", at(80))
			j.want(t, "not", "v dial tcp %s", at(80))
		})
		j.stop()
	})
}

// TestLeadLoopback: servers of the machine's own are led as well, and who answers
// may be asked directly.
func TestLeadLoopback(t *testing.T) {
	s := newScene(t)
	j := s.jail(user1)
	j.want(t, "ok", "answer %s %s", resolver4, resolver6)
	j.want(t, "not", "v udp 127.0.0.53:53")
	j.want(t, "ok", "lead %s 127.0.0.53:53 %s:53", resolver4, client4)
	j.want(t, "ok", "lead %s [%s]:53", resolver6, client6)
	for _, at := range []string{"127.0.0.53:53", client4 + ":53", "[" + client6 + "]:53"} {
		j.want(t, "ok", "v udp %s", at)
		j.want(t, "ok", "v dial tcp %s", at)
	}
	j.want(t, "not", "v udp %s", resolver4)
	j.want(t, "ok", "allow udp %s", resolver4)
	j.want(t, "ok", "v udp %s", resolver4)
}

// TestLeadAnew: the last to be led to is the one that is asked.
func TestLeadAnew(t *testing.T) {
	s := newScene(t)
	j := s.jail(user1)
	each(t, func(t *testing.T, w, _ string) {
		host := strings.TrimSuffix(resolverFor(w), ":5300")
		j.want(t, "ok", "answer %s:5301", host)
		j.want(t, "ok", "lead %s:5301 %s:80", host, w)
		j.want(t, "ok", "v udp %s:80", w)
		j.want(t, "ok", "v hold tcp %s:80", w)
		j.want(t, "ok", "lead %s:5302 %s:81", host, w) // where nobody is
		j.want(t, "not", "v udp %s:80", w)
		j.want(t, "not", "v dial tcp %s:80", w)
		j.want(t, "not", "v echo")
		j.want(t, "ok", "answer %s:5302", host)
		j.want(t, "ok", "v udp %s:80", w)
		j.want(t, "ok", "v dial tcp %s:81", w)
		for _, what := range []string{"udp " + w + ":80", "tcp " + w + ":80", "tcp " + w + ":81"} {
			s.none(what)
		}
	})
}

// TestLeadPorts: a flow of a jail's is not taken for another's that has the port
// next, and another's is not taken for a jail's.
func TestLeadPorts(t *testing.T) {
	s := newScene(t)
	bare, j, other := s.supervisor(user2), s.jail(user1), s.jail(user2)
	bare.want(t, "ok", "start")
	each(t, func(t *testing.T, w, _ string) {
		to := resolverFor(w)
		j.want(t, "ok", "answer %s", to)
		j.want(t, "ok", "lead %s %s:80", to, w)
		other.want(t, "ok", "allow udp %s:80", w)
		for _, port := range []int{6001, 6002, 6003} {
			arrived := func(a *agent, want int) {
				t.Helper()
				n := s.count("udp " + w + ":80")
				a.want(t, "ok", "v from %d %s:80", port, w)
				if got := s.count("udp "+w+":80") - n; got != want {
					t.Errorf("port %d: %d packets arrived, want %d", port, got, want)
				}
			}
			for range 2 {
				arrived(j, 0)
				arrived(bare, 1)
				arrived(other, 1)
			}
		}
	})
}

// TestLeadUser: a program of another user's, as one that is setuid, is not led to
// where the user likes.
func TestLeadUser(t *testing.T) {
	s := newScene(t)
	j := s.jail(0)
	j.want(t, "ok", "answer %s", resolver4)
	j.want(t, "ok", "lead %s %s:80", resolver4, world4)
	// That would answer if it were not translated.
	bare := s.supervisor(0)
	bare.want(t, "ok", "start")
	bare.want(t, "ok", "v listen udp 127.0.0.53:5353")
	j.want(t, "ok", "lead %s 127.0.0.53:5353", resolver4)
	const local = "v run timeout 1 %s bash -c exec<>/dev/udp/127.0.0.53/5353;echo${IFS}x>&0;head${IFS}-c1"
	bare.want(t, "x", local, "setpriv --reuid 54321 --clear-groups")
	j.want(t, "x", local, "")
	j.want(t, "not", local, "setpriv --reuid 54321 --clear-groups")
	const ask = "v run %s bash -c exec<>/dev/udp/" + world4 + "/80;echo${IFS}x>&0;head${IFS}-c1"
	j.want(t, "x", ask, "timeout 1")
	j.want(t, "not", ask, "timeout 1 setpriv --reuid 54321 --clear-groups")
	s.none("udp " + world4 + ":80")
	j.want(t, "x", ask, "timeout 1")
}

// TestLeadNowhere: who would be led to another machine, or makes no sense, is not.
func TestLeadNowhere(t *testing.T) {
	s := newScene(t)
	s.levels()
	j := s.jail(user1)
	before := ruleset(t)
	many := strings.Repeat(" 192.0.2.1:53", 257)
	for _, words := range []string{
		world4 + ":80 192.0.2.1:53", client4 + ":53 192.0.2.1:53", "0.0.0.0:53 192.0.2.1:53", "[::]:53 [2001:db8::1]:53",
		"none 192.0.2.1:53", "127.0.0.1:0 192.0.2.1:53", "127.0.0.1:53", "127.0.0.1:53 none", "127.0.0.1:53 192.0.2.1:0",
		"127.0.0.1:53 [2001:db8::1]:53", "[::1]:53 192.0.2.1:53", "[::1]:53 [fe80::1%lo]:53", "127.0.0.1:53" + many,
		"[::1%lo]:53 [2001:db8::1]:53",
	} {
		if got := j.do("lead %s", words); !strings.HasPrefix(got, "lead: ") {
			t.Errorf("lead %.60s: got %q", words, got)
		}
	}
	s.unchanged(before)
	j.want(t, "ok", "lead [::ffff:127.0.0.1]:53 [::ffff:192.0.2.1]:53")
}

// TestLeadKilled: what a service that was killed has led stays led, and the next
// one ends it.
func TestLeadKilled(t *testing.T) {
	s := newScene(t)
	j := s.jail(user1)
	j.want(t, "ok", "answer %s", resolver4)
	j.want(t, "ok", "lead %s %s:80", resolver4, world4)
	s.quit(unix.SIGKILL)
	j.want(t, "ok", "v udp %s:80", world4)
	s.serve()
	soon(t, "the jail is shut", func() bool { return !strings.Contains(ruleset(t), "servers4") })
	j.want(t, "not", "v udp %s:80", world4)
	s.none("udp " + world4 + ":80")
}
