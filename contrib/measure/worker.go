package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience is what one turn may take.
const patience = time.Minute

// place is where work is done: bare, in a jail, under another program.
type place struct {
	name    string
	prefix  []string // of the command
	root    bool     // the command is root's, and becomes the user's by itself
	servers *servers // its own; nil: the bench's
	missing error    // why it cannot be had
}

var bare = place{name: "bare"}

// jail is a place under netjail, which allows all that is measured.
func (b *bench) jail(guard string) place {
	p := place{name: "netjail", prefix: []string{b.netjail, "--no-prompt", "--guard", guard}}
	if guard == "nft" {
		if p.missing = b.guardService(); p.missing != nil {
			return p
		}
		p.prefix = append(p.prefix, "--guard-socket", b.service)
	}
	p.prefix = append(p.prefix, "--allow", "127.0.0.0/8", "--allow", "www.bench.example", "--")
	return p
}

// supervised is a place under the least of all supervisors.
func (b *bench) supervised(flags ...string) place {
	return place{name: "C supervisor", prefix: append([]string{b.null}, flags...)}
}

// worker is a load process in a place, and does what it is told.
type worker struct {
	place
	to  servers
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader

	twin bool   // it has two threads
	line string // its own work
}

func (b *bench) worker(p place) (*worker, error) {
	if p.missing != nil {
		return nil, p.missing
	}
	w := &worker{place: p, to: b.servers, cmd: b.command(append(p.prefix[:len(p.prefix):len(p.prefix)], b.load)...)}
	if p.servers != nil {
		w.to = *p.servers
	}
	if p.root {
		w.cmd.SysProcAttr.Credential = nil
	}
	var err error
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	w.out = bufio.NewReaderSize(out, 1<<20)
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := w.do("getppid 1"); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// workers starts one for each place, or none.
func (b *bench) workers(places ...place) ([]*worker, error) {
	var list []*worker
	for _, p := range places {
		w, err := b.worker(p)
		if err != nil {
			closeAll(list)
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		list = append(list, w)
	}
	return list, nil
}

func closeAll(list []*worker) {
	for _, w := range list {
		w.close()
	}
}

// close ends the process.
func (w *worker) close() {
	w.in.Close()
	t := time.AfterFunc(patience, func() { _ = syscall.Kill(-w.cmd.Process.Pid, syscall.SIGKILL) })
	defer t.Stop()
	_ = w.cmd.Wait()
}

// do has a line of work done and returns the figures of the answer.
func (w *worker) do(line string) ([]float64, error) {
	t := time.AfterFunc(patience, func() { _ = syscall.Kill(-w.cmd.Process.Pid, syscall.SIGKILL) })
	defer t.Stop()
	if _, err := fmt.Fprintln(w.in, line); err != nil {
		return nil, err
	}
	answer, err := w.out.ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("%s: %w", line, err)
	}
	if strings.Contains(line, w.to.queue) {
		if err := w.to.drain(); err != nil {
			return nil, err
		}
	}
	var list []float64
	for _, word := range strings.Fields(answer) {
		v, err := strconv.ParseFloat(word, 64)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// pid is that of what the worker was started by: of a supervisor, in a jail.
func (w *worker) pid() int { return w.cmd.Process.Pid }

// turns has all workers do the same in turns, and returns for each how many
// nanoseconds its turns took. Who comes first changes from round to round. A first
// round is not counted.
func turns(rounds int, work func(*worker) string, workers ...*worker) ([][]float64, error) {
	took := make([][]float64, len(workers))
	for round := range rounds + 1 {
		for i := range workers {
			i = (i + round) % len(workers)
			t, err := workers[i].do(work(workers[i]))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", workers[i].name, err)
			}
			if round > 0 {
				took[i] = append(took[i], t[len(t)-1])
			}
		}
	}
	return took, nil
}

// servers are what there is at the other end: addresses of programs/load.c.
type servers struct {
	queue             string // TCP: leaves connections in the listener's queue, so that nobody else has to run
	accepts, keeps    string // TCP: closes connections at once, or never
	stream, datagrams string // read all there is
	full              string // UDP: reads nothing

	drain func() error // ends what is in the queue
}

// serve starts servers, in another network if there is a prefix that leads there.
func (b *bench) serve(prefix []string) (s servers, err error) {
	cmd := b.command(append(prefix[:len(prefix):len(prefix)], b.load, "serve")...)
	cmd.SysProcAttr.Credential = nil // port 53 is root's
	in, err := cmd.StdinPipe()
	if err != nil {
		return s, err
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return s, err
	}
	if err := cmd.Start(); err != nil {
		return s, err
	}
	out := bufio.NewReader(pipe)
	b.closers = append(b.closers, func() {
		in.Close()
		_ = cmd.Wait()
	})
	for _, to := range []*string{&s.queue, &s.accepts, &s.keeps, &s.stream, &s.datagrams, &s.full} {
		var port int
		if _, err := fmt.Fscan(out, &port); err != nil {
			return s, fmt.Errorf("start servers: %w", err)
		}
		*to = "127.0.0.1:" + strconv.Itoa(port)
	}
	s.drain = func() error {
		if _, err := fmt.Fprintln(in); err != nil {
			return err
		}
		_, err := fmt.Fscan(out, new(string))
		return err
	}
	return s, nil
}

// The name servers of programs/load.c, and how far away they are.
const (
	serverHere = "127.0.0.2"
	serverAway = "127.0.0.3"
)

// ownEnv is set where contrib/bench has made a network and an /etc/resolv.conf for
// the benchmark alone.
const ownEnv = "NETJAIL_BENCH_OWN"

func useServer(ip string) error {
	return os.WriteFile("/etc/resolv.conf", []byte("nameserver "+ip+"\n"), 0o644)
}
