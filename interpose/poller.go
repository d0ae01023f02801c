package interpose

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// poller waits for many descriptors with one thread.
type poller struct {
	epfd, wake, timer int
	ring              func() // when timer has expired
	done              chan struct{}

	mu      sync.Mutex
	waiters map[int32]chan struct{}
}

// newPoller returns a poller that calls ring, which must not block, whenever timer
// has expired.
func newPoller(timer int, ring func()) (*poller, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	for _, fd := range []int{wake, timer} {
		if err == nil {
			err = unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
		}
	}
	if err != nil {
		unix.Close(epfd)
		unix.Close(wake)
		return nil, fmt.Errorf("poll an eventfd: %w", err)
	}
	p := &poller{
		epfd: epfd, wake: wake, timer: timer, ring: ring, done: make(chan struct{}), waiters: make(map[int32]chan struct{}),
	}
	go p.run()
	return p, nil
}

func (p *poller) run() {
	defer close(p.done)
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(p.epfd, events, -1)
		if err != nil && err != unix.EINTR {
			return
		}
		for _, e := range events[:max(n, 0)] {
			switch e.Fd {
			case int32(p.wake):
				return
			case int32(p.timer):
				var expired [8]byte
				_, _ = unix.Read(p.timer, expired[:])
				p.ring()
				continue
			}
			p.mu.Lock()
			if c, ok := p.waiters[e.Fd]; ok {
				delete(p.waiters, e.Fd)
				close(c)
			}
			p.mu.Unlock()
		}
	}
}

// ready waits for one of events on fd, or for it to have failed or hung up,
// which is one always. It returns ctx's error when ctx ends first.
func (p *poller) ready(ctx context.Context, fd int, events uint32) error {
	c := make(chan struct{})
	p.mu.Lock()
	p.waiters[int32(fd)] = c
	p.mu.Unlock()
	// The description stays open in the program after our close, so that
	// the kernel would not take it out by itself.
	defer func() {
		p.mu.Lock()
		delete(p.waiters, int32(fd))
		p.mu.Unlock()
		_ = unix.EpollCtl(p.epfd, unix.EPOLL_CTL_DEL, fd, nil)
	}()
	ev := unix.EpollEvent{Events: events | unix.EPOLLONESHOT, Fd: int32(fd)}
	if err := unix.EpollCtl(p.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *poller) close() {
	_, _ = unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	<-p.done
	unix.Close(p.wake)
	unix.Close(p.epfd)
}
