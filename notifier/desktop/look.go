package desktop

import (
	"context"
	"errors"
	"fmt"

	"github.com/netjail/netjail/notifier"
)

// ErrNoBus is a session bus that cannot be spoken to.
var ErrNoBus = errors.New("no session bus")

// Server is what a notification service says of itself. Its texts are as they
// came.
type Server struct {
	Name, Vendor, Version string
	Capabilities          []string
	PID                   int // of the process that owns the service's name
}

// Look asks the notification service on the bus at address what it is. The bus
// starts it when it knows how, as for a question. Nothing is shown.
func Look(ctx context.Context, address string) (Server, error) {
	p := New(address, nil)
	defer p.Close()
	l, err := p.connect(ctx)
	switch {
	case ctx.Err() != nil:
		return Server{}, context.Cause(ctx)
	case err != nil:
		return Server{}, fmt.Errorf("%w: %w", ErrNoBus, err)
	}
	owner, err := p.findOwner(ctx, l)
	if err != nil {
		return Server{}, err
	}
	return p.describe(ctx, l, owner)
}

// describe asks the owner of the service's name, and the bus about it.
func (p *Prompter) describe(ctx context.Context, l *link, owner string) (s Server, err error) {
	c, err := p.call(ctx, l, owner, path, service+".GetCapabilities")
	if err != nil {
		return s, explain(ctx, l, err)
	}
	if c.Store(&s.Capabilities) != nil {
		return s, fmt.Errorf("%s.GetCapabilities: unexpected answer: %w", service, notifier.ErrNobody)
	}
	s.Capabilities = s.Capabilities[:min(len(s.Capabilities), maxCapabilities)]
	if c, err = p.call(ctx, l, owner, path, service+".GetServerInformation"); err != nil {
		return s, explain(ctx, l, err)
	}
	var spec string
	if c.Store(&s.Name, &s.Vendor, &s.Version, &spec) != nil {
		return s, fmt.Errorf("%s.GetServerInformation: unexpected answer: %w", service, notifier.ErrNobody)
	}
	body, err := p.callBus(ctx, l, "GetConnectionUnixProcessID", owner)
	if err != nil {
		return s, explain(ctx, l, err)
	}
	if len(body) == 1 {
		pid, _ := body[0].(uint32)
		s.PID = int(pid)
	}
	return s, nil
}
