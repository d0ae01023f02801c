package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The parts that each jail has for itself. Each round is one jail, which is
// alone: everything that arrives comes from it.

// traffickers starts a jail whose program connects to everything, and so does a
// process that it has left in a session of its own.
func (w *world) traffickers(list []*receiver) (*jail, error) {
	j, err := w.jailed(jailApp, "--no-prompt", "--allow", w.of(byFlag).addr)
	if err != nil {
		return nil, err
	}
	words := strings.Join(destinations(list), " ")
	return j, j.tell("leave " + words + "\ntraffic " + words)
}

// silent counts what arrives from a jail that has no supervisor any more: there
// may be nothing, however often its processes try.
func (w *world) silent(list []*receiver, after string) error {
	w.never(afterTheEnd)
	before := make([]int64, len(list))
	for i, r := range list {
		n, err := r.settled()
		if err != nil {
			return err
		}
		before[i] = n
	}
	time.Sleep(20 * time.Millisecond)
	for i, r := range list {
		n, err := r.settled()
		if err != nil {
			return err
		}
		if n > before[i] {
			w.wrong(afterTheEnd, "%d at %s (%s) after %s", n-before[i], r.addr, r.kind, after)
		}
	}
	return nil
}

// finish ends what is left of a jail, and adds up what it did.
func (w *world) finish(j *jail, name string) {
	if err := j.end(); err != nil {
		w.wrong(didNotEnd, "%v", err)
	}
	ok, failed := j.outcomes(func(string) bool { return true })
	w.count(name+": connects made", ok)
	w.count(name+": connects refused", failed)
}

// kill sends SIGKILL to a process of ours.
func kill(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill %d: %w", pid, err)
	}
	return nil
}

// until is how long a jail runs before something of it is killed: often it is
// still being started.
func (w *world) until() time.Duration { return w.moment(120 * time.Millisecond) }

func killSupervisor(ctx context.Context, w *world) error {
	return w.killOwn(ctx, "supervisor", w.receivers, func(j *jail) error { return kill(j.cmd.Process.Pid) })
}

// killKeeper kills the process between the supervisor and the program, which may
// not have been started by then.
func killKeeper(ctx context.Context, w *world) error {
	return w.killOwn(ctx, "keeper", w.receivers, func(j *jail) error {
		var below []int
		err := within(ctx, patience, "a supervisor has a keeper", func() bool {
			below = children(j.cmd.Process.Pid)
			return len(below) > 0
		})
		if err != nil {
			return err
		}
		pause(ctx, w.moment(20*time.Millisecond))
		return kill(below[0])
	})
}

// killOwn kills a part of one jail by do.
func (w *world) killOwn(ctx context.Context, name string, list []*receiver, do func(*jail) error) error {
	j, err := w.traffickers(list)
	if err != nil {
		return err
	}
	defer w.finish(j, name)
	pause(ctx, w.until())
	if err := do(j); err != nil {
		return err
	}
	if err := j.ended(patience); err != nil {
		w.wrong(didNotEnd, "after its %s: %v", name, err)
	}
	if err := w.silent(list, "its "+name); err != nil {
		return err
	}
	return w.checkDenied()
}

// killHandOver has a program end and leave a process behind, and kills the
// supervisor or its successor on the way. What is left either has a supervisor
// or no network.
func killHandOver(ctx context.Context, w *world) error {
	j, err := w.traffickers(w.receivers)
	if err != nil {
		return err
	}
	defer w.finish(j, "handover")
	if _, err := j.reply(ctx, "ready", patience); err != nil {
		return err
	}
	pid := j.cmd.Process.Pid
	below := children(pid)
	if len(below) != 1 {
		return fmt.Errorf("%d processes below a supervisor", len(below))
	}
	// It may end and its number be another's: this is a name for it alone.
	keeper, err := unix.PidfdOpen(below[0], 0)
	if err != nil {
		return fmt.Errorf("pidfd_open: %w", err)
	}
	defer unix.Close(keeper)
	pause(ctx, w.moment(20*time.Millisecond))
	if err := j.tell("exit"); err != nil {
		return err
	}
	pause(ctx, w.moment(40*time.Millisecond))
	which := w.pick(3)
	if which != 1 {
		err = kill(pid)
	}
	if which != 0 && err == nil {
		err = unix.PidfdSendSignal(keeper, unix.SIGKILL, nil, 0)
	}
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	if err := j.ended(patience); err != nil {
		w.wrong(didNotEnd, "during hand-over: %v", err)
		if err := kill(pid); err != nil {
			return err
		}
	}
	switch {
	case which != 0:
		if err := within(ctx, patience, "the successor is gone", func() bool { return over(keeper) }); err != nil {
			return err
		}
		if err := w.silent(w.receivers, "its successor"); err != nil {
			return err
		}
	case over(keeper):
		w.count("handover: no successor", 1)
	default:
		w.count("handover: the successor went on", 1)
	}
	return w.checkDenied()
}

// over says whether the process of a pidfd has ended.
func over(pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, _ := unix.Poll(fds, 0)
	return n > 0
}

// The names that programs look up: those below the first are allowed.
const (
	goodNames = "ok.soak.test"
	badNames  = "no.soak.test"
)

// killResolver kills a supervisor, in which a jail's resolver is, while names
// are looked up. The denied ones must not reach the system's server.
func killResolver(ctx context.Context, w *world) error {
	list, err := w.nameServer(ctx)
	if err != nil {
		return err
	}
	return w.killOwn(ctx, "resolver", list, func(j *jail) error { return kill(j.cmd.Process.Pid) })
}

// nameServer is the system's, and what counts names that are denied.
func (w *world) nameServer(ctx context.Context) ([]*receiver, error) {
	if good, bad := w.of(goodNames), w.of(badNames); good != nil {
		return []*receiver{good, bad}, nil
	}
	good := &receiver{kind: goodNames, own: make(map[string]chan struct{})}
	bad, err := listen(noUDP)
	if err != nil {
		return nil, err
	}
	w.atEnd(bad.close)
	bad.kind = badNames
	err = good.listenUDP("127.0.0.1:53", func(c net.PacketConn, from net.Addr, query []byte) bool {
		name, reply := answerName(query)
		if strings.HasSuffix(name, badNames) {
			bad.count.Add(1)
			return false
		}
		_, _ = c.WriteTo(reply, from)
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("be the name server: %w (contrib/soak makes room for one)", err)
	}
	w.atEnd(good.close)
	for _, r := range []*receiver{good, bad} {
		verdict := map[bool]string{true: "allow", false: "deny"}[r == good]
		_, stderr, code, err := output(w.command("rules", "add", jailApp, verdict, "."+r.kind))
		if err != nil || code != 0 {
			return nil, fmt.Errorf("rules add: %w: %s", err, stderr)
		}
	}
	w.receivers = append(w.receivers, good, bad)
	return []*receiver{good, bad}, nil
}

// answerName reads the name of a query and answers it with 127.0.0.1, see RFC
// 1035, 4.1.
func answerName(query []byte) (name string, reply []byte) {
	const header = 12
	if len(query) < header {
		return "", nil
	}
	at := header
	var labels []string
	for at < len(query) && query[at] != 0 {
		n := int(query[at])
		if n > 63 || at+1+n > len(query) {
			return "", nil
		}
		labels = append(labels, string(query[at+1:at+1+n]))
		at += 1 + n
	}
	end := at + 5 // root, type, class
	if end > len(query) {
		return "", nil
	}
	reply = append([]byte{}, query[:end]...)
	copy(reply[2:], []byte{0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0})
	if binary.BigEndian.Uint16(query[end-4:]) != 1 { // not A
		reply[7] = 0
		return strings.Join(labels, "."), reply
	}
	return strings.Join(labels, "."), append(reply, 0xc0, header, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 192, 0, 2, 77)
}
