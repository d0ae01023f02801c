package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
)

// ErrClosed means that the daemon has gone.
var ErrClosed = errors.New("the daemon closed the connection")

// Client asks the daemon.
type Client struct {
	conn   *Conn
	sock   *socket
	events func(*Message)
	done   chan struct{}

	listening bool

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan *Message
	closed  bool
}

// Dial connects to the daemon at path. Events are handed to events, one after
// the other, after Listen was called; nil ignores them.
func Dial(path string, events func(*Message)) (*Client, error) {
	s, err := dialSocket(path)
	if err != nil {
		return nil, fmt.Errorf("the daemon: %w", err)
	}
	return &Client{
		conn: NewConn(s, MaxLine), sock: s, events: events,
		done: make(chan struct{}), waiting: make(map[uint64]chan *Message),
	}, nil
}

// Ask is Call for a client that does not listen yet. It waits in the calling
// thread.
func (c *Client) Ask(op string, args, reply any) error {
	data, err := json.Marshal(args)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if err := c.conn.Send(&Message{V: Version, Op: op, Data: data}); err != nil {
		return fmt.Errorf("%s: %w: %w", op, ErrClosed, err)
	}
	line, err := c.conn.line()
	if err != nil {
		return fmt.Errorf("%s: %w: %w", op, ErrClosed, err)
	}
	if data, ok := bare(line); ok && quick(data, reply) {
		return nil
	}
	// In one go: a long list is long to read twice.
	m := struct {
		Data  any    `json:"data"`
		Error *Error `json:"error"`
	}{Data: reply}
	if reply == nil {
		m.Data = new(json.RawMessage)
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return fmt.Errorf("%s: decode reply: %w", op, err)
	}
	if m.Error != nil {
		return m.Error
	}
	return nil
}

// Listen begins to hear what the daemon says by itself. From then on Call asks.
func (c *Client) Listen() error {
	if err := c.sock.patient(); err != nil {
		return fmt.Errorf("setsockopt: %w", err)
	}
	c.listening = true
	go c.read()
	return nil
}

// Close closes the connection of a client that listens, or did not begin to.
func (c *Client) Close() error {
	err := c.conn.Close()
	if !c.listening {
		c.sock.release()
	}
	return err
}

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

func (c *Client) read() {
	defer c.sock.release()
	defer close(c.done)
	defer c.abort()
	for {
		m, err := c.conn.Receive()
		if err != nil {
			c.conn.Close()
			return
		}
		if m.Event != "" {
			if c.events != nil {
				c.events(m)
			}
			continue
		}
		c.mu.Lock()
		w := c.waiting[m.ID]
		delete(c.waiting, m.ID)
		c.mu.Unlock()
		if w != nil {
			w <- m
		}
	}
}

// abort tells all who wait that no reply will come.
func (c *Client) abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for id, w := range c.waiting {
		close(w)
		delete(c.waiting, id)
	}
}

// Call asks op and stores the reply in reply, unless that is nil. The error is
// an *Error where the daemon answered with one, and ErrClosed where it is gone.
func (c *Client) Call(ctx context.Context, op string, args, reply any) error {
	data, err := json.Marshal(args)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	w := make(chan *Message, 1)
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return fmt.Errorf("%s: %w", op, ErrClosed)
	}
	c.next++
	id := c.next
	c.waiting[id] = w
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
	}()
	if err := c.conn.Send(&Message{V: Version, ID: id, Op: op, Data: data}); err != nil {
		return fmt.Errorf("%s: %w: %w", op, ErrClosed, err)
	}
	select {
	case m, ok := <-w:
		if !ok {
			return fmt.Errorf("%s: %w", op, ErrClosed)
		}
		return m.into(op, reply)
	case <-ctx.Done():
		_ = c.Tell(OpCancel, id)
		return fmt.Errorf("%s: %w", op, ctx.Err())
	}
}

// Tell says what gets no reply. What is told comes to the daemon in order.
func (c *Client) Tell(op string, args any) error {
	data, err := json.Marshal(args)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if err := c.conn.Send(&Message{V: Version, Op: op, Data: data}); err != nil {
		return fmt.Errorf("%s: %w: %w", op, ErrClosed, err)
	}
	return nil
}

// into stores a reply's data in reply, unless that is nil.
func (m *Message) into(op string, reply any) error {
	switch {
	case m.Error != nil:
		return m.Error
	case reply == nil:
		return nil
	}
	if quick(m.Data, reply) {
		return nil
	}
	if err := json.Unmarshal(m.Data, reply); err != nil {
		return fmt.Errorf("%s: decode reply: %w", op, err)
	}
	return nil
}

// quick reads what has a faster way to be read than encoding/json, if it was
// written for that.
func quick(data []byte, v any) bool {
	l, ok := v.(*RuleList)
	return ok && l.decode(data)
}

// bare returns the data of a message that has nothing else but a version. What
// is no such message may give bytes that are no JSON.
func bare(line []byte) ([]byte, bool) {
	data, ok := bytes.CutPrefix(line, fmt.Appendf(nil, `{"v":%d,"data":`, Version))
	return bytes.TrimSuffix(data, []byte("}")), ok
}
