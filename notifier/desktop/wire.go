package desktop

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

const (
	// fixedHeader is the part of a message that tells its length.
	fixedHeader = 16

	// maxMessage is the longest message that is looked at. Anybody on the bus
	// can send us messages; those of a notification service are short.
	maxMessage = 1 << 18
)

// wire is the connection under godbus. Once authenticated it hands on whole
// messages only: godbus panics when a connection ends in the middle of one.
// Messages that are too long are left out.
type wire struct {
	conn   net.Conn
	in     *bufio.Reader
	framed bool   // authentication is over
	rest   []byte // of the message being handed on
}

func newWire(conn net.Conn) *wire {
	return &wire{conn: conn, in: bufio.NewReader(conn)}
}

// Read implements io.Reader.
func (w *wire) Read(b []byte) (int, error) {
	if !w.framed {
		return w.in.Read(b)
	}
	for len(w.rest) == 0 {
		msg, err := readMessage(w.in)
		if err != nil {
			return 0, err
		}
		w.rest = msg
	}
	n := copy(b, w.rest)
	w.rest = w.rest[n:]
	return n, nil
}

// Write implements io.Writer. It does not let a stuck bus block for ever; a
// write that failed may have been cut short, so it ends the connection.
func (w *wire) Write(b []byte) (int, error) {
	w.conn.SetWriteDeadline(time.Now().Add(callTimeout))
	// The last line of the authentication; the bus sends no message before it.
	// It is written before another goroutine reads or writes.
	if !w.framed && bytes.HasPrefix(b, []byte("BEGIN\r\n")) {
		w.framed = true
	}
	n, err := w.conn.Write(b)
	if err != nil {
		w.conn.Close()
	}
	return n, err
}

// Close implements io.Closer.
func (w *wire) Close() error { return w.conn.Close() }

// readMessage reads one message, and returns none if it is too long.
func readMessage(r *bufio.Reader) ([]byte, error) {
	head, err := r.Peek(fixedHeader)
	if err != nil {
		if len(head) > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	n, err := messageLength(head)
	if err != nil {
		return nil, err
	}
	if n > maxMessage {
		_, err := io.CopyN(io.Discard, r, n)
		return nil, err
	}
	msg := make([]byte, n)
	if _, err := io.ReadFull(r, msg); err != nil {
		return nil, err
	}
	return msg, nil
}

// messageLength reads the length of a message from its fixed header.
func messageLength(head []byte) (int64, error) {
	var order binary.ByteOrder
	switch head[0] {
	case 'l':
		order = binary.LittleEndian
	case 'B':
		order = binary.BigEndian
	default:
		return 0, fmt.Errorf("message of unknown byte order %#x", head[0])
	}
	body := int64(order.Uint32(head[4:]))
	fields := int64(order.Uint32(head[12:]))
	return fixedHeader + (fields+7)&^7 + body, nil
}
