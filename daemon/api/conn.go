package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// MaxLine bounds one message. A snapshot of ten thousand rules fits.
const MaxLine = 16 << 20

// writeTimeout is how long a peer may leave its messages unread.
const writeTimeout = 5 * time.Second

// longBuffer is how much is read at once of a message that has no end yet.
const longBuffer = 128 << 10

// ErrTooLong is a message beyond MaxLine.
var ErrTooLong = errors.New("message too long")

// Conn sends and receives messages. Send may be called from several
// goroutines, Receive from one.
type Conn struct {
	c io.ReadWriteCloser
	r *bufio.Reader

	limit int
	hurry time.Duration // for a message that has begun, and the first one; 0: any time

	begun bool // there was a message

	mu sync.Mutex // held while writing
}

// NewConn returns a Conn on c, which it owns, that takes messages of up to
// limit bytes.
func NewConn(c io.ReadWriteCloser, limit int) *Conn {
	return &Conn{c: c, r: bufio.NewReader(c), limit: limit}
}

// Hurry bounds how long the peer may take for its first message, and for the
// rest of each that it has begun. It may be silent in between.
func (c *Conn) Hurry(d time.Duration) { c.hurry = d }

// Close closes the connection.
func (c *Conn) Close() error { return c.c.Close() }

// Send writes m. A peer that does not read for a while is an error, after
// which the connection is of no use any more.
func (c *Conn) Send(m *Message) error {
	b, err := m.encode()
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if d, ok := c.c.(interface{ SetWriteDeadline(time.Time) error }); ok {
		if err := d.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
	}
	if _, err = c.c.Write(append(b, '\n')); err != nil {
		c.c.Close()
	}
	return err
}

// Encode is json.Marshal for the data of a message.
func Encode(v any) (json.RawMessage, error) {
	if l, ok := v.(RuleList); ok {
		return l.encode()
	}
	return json.Marshal(v)
}

// encode returns the message in one line. Its data was encoded already: to have
// that checked and copied once more takes longer than all else for many rules.
func (m *Message) encode() ([]byte, error) {
	bare := *m
	bare.Data = nil
	b, err := json.Marshal(&bare)
	if err != nil || len(m.Data) == 0 {
		return b, err
	}
	if bytes.IndexByte(m.Data, '\n') >= 0 {
		return json.Marshal(m) // of somebody who wrote it by hand
	}
	b = b[:len(b)-1]
	if len(b) > 1 {
		b = append(b, ',')
	}
	b = append(append(b, `"data":`...), m.Data...)
	return append(b, '}'), nil
}

// Receive reads the next message. It returns io.EOF at the end.
func (c *Conn) Receive() (*Message, error) {
	line, err := c.line()
	if err != nil {
		return nil, err
	}
	m := new(Message)
	if err := json.Unmarshal(line, m); err != nil {
		return nil, fmt.Errorf("decode message: %w", err)
	}
	return m, nil
}

// line reads a message. Most are short; for one that is not the buffer becomes
// larger, as the kernel hands over more at a time.
func (c *Conn) line() ([]byte, error) {
	if err := c.await(); err != nil {
		return nil, err
	}
	var line []byte
	for {
		part, err := c.r.ReadSlice('\n')
		if len(line)+len(part) > c.limit {
			return nil, ErrTooLong
		}
		if n := len(line) + len(part); len(line) > 0 && n > cap(line) {
			line = withRoom(line, 2*n-len(line)) // append would copy the line more often
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return bytes.TrimSuffix(line, []byte("\n")), nil
		case err == io.EOF && len(line) > 0:
			return nil, io.ErrUnexpectedEOF
		case err != bufio.ErrBufferFull:
			return nil, err
		}
		c.r = bufio.NewReaderSize(c.r, longBuffer)
	}
}

// withRoom is slices.Grow by a copy. It leaves the room untouched: slices.Grow
// clears it, and to have a page of memory takes longer than to fill it.
func withRoom(b []byte, n int) []byte { return append(make([]byte, 0, len(b)+n), b...) }

// await waits for a message to begin where its end is hurried.
func (c *Conn) await() error {
	d, ok := c.c.(interface{ SetReadDeadline(time.Time) error })
	if c.hurry == 0 || !ok {
		return nil
	}
	if c.begun {
		if err := d.SetReadDeadline(time.Time{}); err != nil {
			return err
		}
		if _, err := c.r.Peek(1); err != nil {
			return err
		}
	}
	c.begun = true
	return d.SetReadDeadline(time.Now().Add(c.hurry))
}
