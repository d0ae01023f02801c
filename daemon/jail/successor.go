package jail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/daemon/guard"
	"github.com/netjail/netjail/daemon/names"
	"github.com/netjail/netjail/interpose"
)

// handOverTimeout bounds how long a supervisor waits for its successor.
const handOverTimeout = 5 * time.Second

// heir is the channel to a successor, from before there is one.
type heir struct {
	ours   *os.File
	theirs int
}

// inheritance is what a successor is told. It reads it in two parts: the
// calls follow when it is ready to answer them.
type inheritance struct {
	Config Config      `json:"config"`
	ID     string      `json:"id"`
	Guard  guard.Guard `json:"guard"` // it stays: a domain is inherited, in the kernel too
}

// legacy is the second part.
type legacy struct {
	Calls []interpose.Pending `json:"calls"`
	Names []names.Lease       `json:"names"`
	Past  []api.Snapshot      `json:"past"`           // what calls were decided by
	Gate  *estate             `json:"gate,omitempty"` // its connection comes before
}

func newHeir() (*heir, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	return &heir{os.NewFile(uintptr(pair[0]), "successor"), pair[1]}, nil
}

// limit bounds every read and write on our side.
func (h *heir) limit(d time.Duration) error {
	tv := unix.NsecToTimeval(d.Nanoseconds())
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(int(h.ours.Fd()), unix.SOL_SOCKET, option, &tv); err != nil {
			return fmt.Errorf("setsockopt: %w", err)
		}
	}
	return nil
}

// handOver gives the jail to a successor, which has been started. Without one
// the jail has no network any more, and a line says so.
func (s *supervisor) handOver(h *heir) {
	unix.Close(h.theirs) // its copy is its own by now
	defer h.ours.Close()
	err := s.link.succeed(s.process.Keeper())
	if err == nil {
		err = h.limit(handOverTimeout)
	}
	if err == nil {
		err = json.NewEncoder(h.ours).Encode(inheritance{s.cfg, s.id, s.guard})
	}
	if err == nil {
		var ready bool
		err = json.NewDecoder(h.ours).Decode(&ready)
	}
	if err == nil {
		left := legacy{Calls: s.serving.HandOver()}
		if s.gate != nil {
			left.Gate, err = h.giveGate(s.gate)
		}
		left.Names, left.Past = s.policy.dns.known.Leases(time.Now()), s.revoker.snapshots()
		err = errors.Join(err, json.NewEncoder(h.ours).Encode(left))
	}
	if err != nil {
		s.line(fmt.Sprintf("netjail: error: what %s left behind has no network any more: %v", s.cfg.App, err))
	}
}

// giveGate passes the guard on.
func (h *heir) giveGate(g *gate) (*estate, error) {
	files, e, err := g.handOver()
	var fds []int
	for _, f := range files {
		if f != nil {
			defer f.Close()
			fds = append(fds, int(f.Fd()))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the guard: %w", err)
	}
	if err := unix.Sendmsg(int(h.ours.Fd()), []byte{0}, unix.UnixRights(fds...), nil, 0); err != nil {
		return nil, fmt.Errorf("pass the guard on: %w", err)
	}
	return e, nil
}

// maxGateFiles is more than a guard is made of.
const maxGateFiles = 64

// receiveGate receives what giveGate passes on. Nothing else has been read of what
// follows.
func receiveGate(channel *os.File) (files []*os.File, err error) {
	b, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4*maxGateFiles))
	n, oobn, _, _, err := unix.Recvmsg(int(channel.Fd()), b, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("receive the guard: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if n != 1 || err != nil || len(messages) != 1 {
		return nil, errors.New("receive the guard: it did not come")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) == 0 {
		return nil, errors.New("receive the guard: no descriptor came")
	}
	for _, fd := range fds {
		files = append(files, os.NewFile(uintptr(fd), "guard"))
	}
	return files, nil
}

// inheritGate takes over the guard, and has the resolver of this process take the
// place of the other one.
func (s *supervisor) inheritGate(ctx context.Context, files []*os.File, e *estate) error {
	if e == nil {
		return errors.New("the guard was not passed on")
	}
	if err := s.gate.take(files, e); err != nil {
		return err
	}
	if n := s.gate.network; n != nil {
		if err := s.enter(n); err != nil {
			return err
		}
	}
	go s.gate.follow()
	go s.gate.keep(ctx)
	return errors.Join(s.gate.lead(s.policy.dns.servers()...), s.gate.renew())
}

// Succeed is the life of a process that was started as SuccessorName. It
// supervises until the jail is empty.
func Succeed() error {
	// Nobody stops a supervisor but its jail, by ending.
	signal.Notify(make(chan os.Signal, 1), unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	listener, channel, err := interpose.Inherit()
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(channel), "predecessor")
	defer f.Close()
	dec := json.NewDecoder(f)
	var in inheritance
	if err := dec.Decode(&in); err != nil {
		return fmt.Errorf("read the inheritance: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s, err := newSupervisor(in.Config, in.ID, nil)
	if err != nil {
		return err
	}
	s.guard = in.Guard
	if s.guard.Packets() {
		s.gate = heirGate(s)
		s.policy.gate = s.gate
	}
	close(s.starting)
	close(s.running)
	if err := s.link.connect(ctx); err != nil {
		return err
	}
	defer s.link.close()
	defer s.gate.close()
	defer s.policy.deeds.flush(true)
	if err := letGo(); err != nil {
		return err
	}
	if err := json.NewEncoder(f).Encode(true); err != nil {
		return err
	}
	var guarded []*os.File
	if s.gate != nil {
		if guarded, err = receiveGate(f); err != nil {
			return err
		}
	}
	var left legacy
	// A predecessor that was killed meanwhile has nothing to give.
	if err := dec.Decode(&left); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the calls: %w", err)
	}
	s.policy.dns.known.Take(left.Names, time.Now())
	s.revoker.resume(left.Past)
	if s.gate != nil {
		if err := s.inheritGate(ctx, guarded, left.Gate); err != nil {
			return err
		}
	}
	go reap()
	serving := s.newServing(listener)
	serving.Adopt(left.Calls)
	return serving.Serve(ctx)
}

// letGo closes what was inherited from the program's start: a pipe that the
// program closes must not stay open here.
func letGo() error {
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	defer unix.Close(null)
	for fd := range 3 {
		if err := unix.Dup3(null, fd, 0); err != nil {
			return fmt.Errorf("dup3: %w", err)
		}
	}
	return unix.Chdir("/") // pins no file system
}

// reap waits for what is left to a subreaper, until there is nothing.
func reap() {
	for {
		if _, err := unix.Wait4(-1, nil, unix.WALL, nil); err != nil && err != unix.EINTR {
			return
		}
	}
}
