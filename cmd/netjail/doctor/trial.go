package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/interpose"
)

// jailTrial is what became of a jail.
type jailTrial struct {
	Failed string     `json:",omitempty"` // what of it could not be done
	Op     string     `json:",omitempty"` // the system call that failed
	Errno  unix.Errno `json:",omitempty"`
	Nested bool       // there is a listener around it already

	WakeUp  bool // the listener knows SYNC_WAKE_UP
	Decided int  // calls that the policy was asked about
	Victim  victim
	Arrived arrivals
}

// victim is what the calls of the jailed program returned.
type victim struct {
	Connect, Refused unix.Errno // of a TCP connection that is allowed, of one that is not
	Send, Unsent     unix.Errno // of datagrams
	Signal, Getfd    unix.Errno // of a reach at the doctor, who is outside
}

// arrivals is what came to the sockets outside.
type arrivals struct {
	Connect, Refused, Send, Unsent bool
}

// fail notes what could not be done.
func (t *jailTrial) fail(op string, err error) jailTrial {
	t.Failed = fmt.Sprintf("%s: %v", op, err)
	t.Nested = errors.Is(err, interpose.ErrNested)
	t.Op = op
	var start *interpose.StartError
	if errors.As(err, &start) {
		t.Op = start.Op
	}
	errors.As(err, &t.Errno)
	return *t
}

// wall allows one port of each kind, and counts.
type wall struct {
	tcp, udp uint16
	asked    atomic.Int64
}

func (w *wall) Check(c *interpose.Call) interpose.Verdict {
	w.asked.Add(1)
	switch {
	case c.Network == interpose.TCP && c.Op == interpose.Connect && c.Addr.Port() == w.tcp,
		c.Network == interpose.UDP && c.Op == interpose.Send && c.Addr.Port() == w.udp:
		return interpose.Allow
	}
	return interpose.Deny
}

func (w *wall) Decide(context.Context, *interpose.Call) interpose.Verdict { return interpose.Deny }

// noLoopback is why nothing can be tried where 127.0.0.1 cannot be reached.
const noLoopback = "reach 127.0.0.1 without a jail"

// control makes a connection as the victim will.
func control() error {
	fd, port, err := bound(unix.SOCK_STREAM)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if errno := connects(int(port)); errno != 0 {
		return errno
	}
	return nil
}

// supervise runs a victim in a jail, which is given args.
func supervise(args []string) (t jailTrial) {
	if err := control(); err != nil {
		return t.fail(noLoopback, err)
	}
	// Each has a port of its own as long as they are open.
	var fds [4]int
	var ports [4]uint16
	for i, typ := range []int{unix.SOCK_STREAM, unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_DGRAM} {
		var err error
		if fds[i], ports[i], err = bound(typ); err != nil {
			return t.fail(noLoopback, err)
		}
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return t.fail("pipe", err)
	}
	command := append([]string{HelperName, "victim", strconv.Itoa(pipe[1])}, args...)
	for _, p := range ports {
		command = append(command, strconv.Itoa(int(p)))
	}
	starter, err := interpose.Prepare(&interpose.Command{Path: self, Args: command, Env: os.Environ(), Keep: pipe[1:]})
	if err != nil {
		return t.fail("prepare", err)
	}
	p, err := starter.Start()
	if err != nil {
		return t.fail("start", err)
	}
	unix.Close(pipe[1])
	w := &wall{tcp: ports[0], udp: ports[2]}
	if err := t.follow(p, w, os.NewFile(uintptr(pipe[0]), "pipe")); err != nil {
		return t.fail("follow", err)
	}
	t.Decided = int(w.asked.Load())
	t.Arrived = arrivals{accepts(fds[0]), accepts(fds[1]), receives(fds[2]), receives(fds[3])}
	return t
}

// follow answers the calls of p until it ends, and reads what it reports.
func (t *jailTrial) follow(p *interpose.Process, w *wall, report io.Reader) error {
	listener := p.TakeListener()
	t.WakeUp = unix.IoctlSetInt(listener, unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP) == nil
	served := make(chan error, 1)
	go func() { served <- interpose.NewSupervisor(listener, w, nil).Serve(context.Background()) }()
	said, err := io.ReadAll(io.LimitReader(report, maxFile))
	if err != nil {
		return err
	}
	for {
		e, err := p.Wait()
		switch {
		case err != nil:
			return err
		case e.Status.Signaled():
			return fmt.Errorf("the program was ended by %v", e.Status.Signal())
		case e.Status.Exited():
			if err := <-served; err != nil {
				return err
			}
			if err := json.Unmarshal(said, &t.Victim); err != nil {
				return fmt.Errorf("the program exits with %d and says %q", e.Status.ExitStatus(), said)
			}
			return nil
		}
	}
}

// suffer makes the calls of a jailed program.
func suffer(args []string) error {
	var n [6]int
	if len(args) != len(n) {
		return fmt.Errorf("%d arguments", len(args))
	}
	for i := range n {
		var err error
		if n[i], err = strconv.Atoi(args[i]); err != nil {
			return err
		}
	}
	report, doctor, ports := n[0], n[1], n[2:]
	v := victim{
		Connect: connects(ports[0]), Refused: connects(ports[1]), Send: sends(ports[2]), Unsent: sends(ports[3]),
		Signal: errnoOf(unix.Kill(doctor, 0)), Getfd: errnoOf(getfd(doctor, 1)),
	}
	return json.NewEncoder(os.NewFile(uintptr(report), "report")).Encode(v)
}
