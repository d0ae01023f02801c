package main

import (
	"fmt"
	"os"
	"strings"
)

// versus is one thing that netjail is compared with.
type versus struct {
	place place
	aim   aim
	peer  bool // slower, so the ratio is the other way round: how much faster netjail is
	speed bool // so it is here: what part of the speed is left
}

// compare has a line of work done in a jail and in other places, in turns.
func (b *bench) compare(title string, jail place, line func(*worker) string, others ...versus) (list []row) {
	var workers []*worker
	defer func() { closeAll(workers) }()
	w, err := b.worker(jail)
	if err != nil {
		return []row{missing(title, jail.name, err, aim{})}
	}
	workers = append(workers, w)
	var there []versus
	for _, v := range others {
		w, err := b.worker(v.place)
		if err != nil {
			list = append(list, missing(title, v.place.name, err, v.aim))
			continue
		}
		workers, there = append(workers, w), append(there, v)
	}
	took, err := turns(b.rounds, line, workers...)
	if err != nil {
		return append(list, missing(title, "–", err, aim{}))
	}
	for i, v := range there {
		r := compared(title, v.place.name, ratios(took[0], took[i+1]), v.aim)
		switch {
		case v.peer:
			r = compared(title, v.place.name, ratios(took[i+1], took[0]), v.aim)
			r.result = strings.Replace(r.result, "×", "× faster", 1)
		case v.speed:
			r = compared(title, v.place.name+", speed", ratios(took[i+1], took[0]), v.aim)
		}
		list = append(list, r)
	}
	return list
}

// work is a line of work to an address.
func work(name string, count int, to func(servers) string, more ...any) func(*worker) string {
	return func(w *worker) string {
		return strings.TrimSpace(fmt.Sprintln(append([]any{name, count, to(w.to)}, more...)...))
	}
}

func toFull(s servers) string    { return s.full }
func toQueue(s servers) string   { return s.queue }
func toAccepts(s servers) string { return s.accepts }

// control compares a thing with itself: what that is away from 1 is the noise of
// the run.
func control(b *bench) []row {
	again := bare
	again.name = "itself"
	return b.compare("bare TCP socket+connect+close: the noise of this run", bare, work("tcp", 400, toQueue, 1), versus{place: again})
}

func connects(b *bench) []row {
	opens := b.supervised("-o")
	opens.name = "C supervisor that opens a pidfd for each call"
	return b.compare("UDP connect that a rule allows", b.jail(b.guard), work("udp-connect", 1000, toFull),
		versus{place: b.supervised(), aim: atMost(1.25, " ×")}, versus{place: opens}, versus{place: bare})
}

func tcp(b *bench) (list []row) {
	for _, threads := range []int{1, 8} {
		title := fmt.Sprintf("TCP socket+connect+close, %d thread", threads)
		if threads > 1 {
			title += "s"
		}
		list = append(list, b.compare(title, b.jail(b.guard), work("tcp", 400, toQueue, threads),
			versus{place: bare, aim: atMost(1.8, " ×")}, versus{place: strace(), aim: atLeast(5, " ×"), peer: true})...)
	}
	return list
}

func calls(b *bench) (list []row) {
	for _, name := range []string{"getppid", "read", "write", "futex", "epoll_wait"} {
		line := func(*worker) string { return name + " 40000" }
		list = append(list, b.compare(name, b.jail(b.guard), line, versus{place: bare, aim: atMost(1.02, " ×")}, versus{place: b.supervised()})...)
	}
	return list
}

func datagrams(b *bench) (list []row) {
	for _, name := range []string{"sendto", "sendmsg", "sendmmsg"} {
		count, title := 500, "unconnected UDP "+name
		if name == "sendmmsg" {
			count, title = 20, title+" of 64"
		}
		for _, guard := range b.guards {
			if guard == "landlock" {
				continue // no other than strict, for datagrams
			}
			against := []versus{{place: b.supervised(), aim: atMost(1.3, " ×")}, {place: bare}}
			if guard != "strict" {
				against = []versus{{place: bare, aim: atLeast(0.95, " ×"), speed: true}}
			}
			list = append(list, b.compare(title+", "+guard, b.jail(guard), work(name, count, toFull), against...)...)
		}
	}
	return list
}

func local(b *bench) (list []row) {
	for _, threads := range []string{"1 thread", "2 threads"} {
		for _, size := range []int{100, 64 << 10} {
			for with, what := range []string{"", ", a descriptor"} {
				title := fmt.Sprintf("AF_UNIX sendmsg+recvmsg, %d B%s, %s", size, what, threads)
				twin := threads != "1 thread"
				line := func(w *worker) string {
					if twin && !w.twin {
						w.twin = true
						_, _ = w.do("twin 1")
					}
					return fmt.Sprintf("unix 300 %d %d", size, with)
				}
				list = append(list, b.compare(title, b.jail(b.guard), line, versus{place: bare})...)
			}
		}
	}
	return list
}

// bulk compares speeds, which are the inverse of times.
func bulk(b *bench) (list []row) {
	for _, guard := range b.guards {
		for _, w := range []struct {
			title, name string
			to          func(servers) string
		}{
			{"bulk TCP", "bulk", func(s servers) string { return s.stream }},
			{"connected UDP with GSO", "gso", func(s servers) string { return s.datagrams }},
		} {
			list = append(list, b.compare(w.title+", "+guard, b.jail(guard), work(w.name, 64, w.to),
				versus{place: bare, aim: atLeast(0.98, " ×"), speed: true})...)
		}
	}
	return list
}

func lookups(b *bench) (list []row) {
	const title = "a name looked up through the jail's resolver, server "
	for _, s := range []struct {
		ip, title string
		count     int
		aim       aim
	}{{serverHere, "on loopback", 50, aim{}}, {serverAway, "1 ms away", 10, atMost(1.3, " ×")}} {
		if os.Getenv(ownEnv) == "" {
			list = append(list, missing(title+s.title, "direct", errRoot, s.aim))
			continue
		}
		if err := useServer(s.ip); err != nil {
			list = append(list, missing(title+s.title, "direct", err, s.aim))
			continue
		}
		to := func(servers) string { return s.ip + ":53" }
		list = append(list, b.compare(title+s.title, b.jail(b.guard), work("lookup", s.count, to), versus{place: bare, aim: s.aim})...)
	}
	return list
}
