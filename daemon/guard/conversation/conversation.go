// Package conversation is what a guard and its client say to each other about one
// jail, on the guard's side: requests that come in lines, what the kernel is told
// of them, and packets that were dropped.
//
//	c := conversation.New(unixConn)
//	err := c.Serve(func(r *client.Request, fd int) *client.Reply {
//		ended, err := conversation.Perform(table, jail, r)
//		...
//	})
//	c.Dropped(dest) // from elsewhere
//
// It knows neither who is at the other end nor how the jail came about: whoever
// accepted the connection does. What comes in is taken for hostile.
package conversation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/guard/client"
	"github.com/netjail/netjail/daemon/guard/nft"
)

// Conn is a connection that is served.
type Conn struct {
	*net.UnixConn
	lost chan nft.Dest // was dropped
}

// Limits of a connection.
const (
	patience    = 10 * time.Second // for it to take replies
	maxTold     = 64               // packets that were dropped and are not told of yet
	maxMessages = 1                // descriptors in one message
)

// New makes a conversation of a connection.
func New(c *net.UnixConn) *Conn { return &Conn{UnixConn: c, lost: make(chan nft.Dest, maxTold)} }

// Dropped tells of a packet, unless there is much to tell already.
func (c *Conn) Dropped(d nft.Dest) {
	select {
	case c.lost <- d:
	default:
	}
}

// Serve answers requests until the client leaves, which is no error, or says what
// is no request. With a request comes a descriptor, or -1, which is closed when it
// was answered.
func (c *Conn) Serve(answer func(r *client.Request, fd int) *client.Reply) error {
	replies := make(chan *client.Reply)
	var writer sync.WaitGroup
	writer.Go(func() { c.write(replies) })
	err := c.requests(func(r *client.Request, fd int) { replies <- answer(r, fd) })
	close(replies)
	writer.Wait()
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// write writes what there is to say. It takes all replies, even those that
// nobody reads.
func (c *Conn) write(replies <-chan *client.Reply) {
	for {
		var r *client.Reply
		var ok bool
		select {
		case r, ok = <-replies:
			if !ok {
				return
			}
		case d := <-c.lost:
			r = &client.Reply{Dropped: &client.Dest{Proto: protoOf(d.Network), Addr: d.Addr, Port: d.Port}}
		}
		line, err := json.Marshal(r)
		if err == nil {
			_ = c.SetWriteDeadline(time.Now().Add(patience))
			_, err = c.Write(append(line, '\n'))
		}
		if err != nil {
			c.Close()
		}
	}
}

var errLong = errors.New("request is too long")

// requests reads lines, each with the descriptor that came with it, or -1. It
// ends with the first that is none.
func (c *Conn) requests(handle func(r *client.Request, fd int)) error {
	var (
		line []byte
		fd   = -1
		buf  = make([]byte, 16<<10)
		oob  = make([]byte, unix.CmsgSpace(4*maxMessages))
	)
	defer func() { closeFD(fd) }()
	for {
		n, oobn, flags, _, err := c.ReadMsgUnix(buf, oob)
		got, rerr := rights(oob[:oobn])
		if len(got) > 0 {
			closeFD(fd)
			fd = got[0]
			for _, extra := range got[1:] {
				closeFD(extra)
			}
		}
		switch {
		case err != nil:
			return err
		case n == 0:
			return io.EOF
		case rerr != nil || len(got) > 1 || flags&unix.MSG_CTRUNC != 0:
			return errors.New("one descriptor comes with a request, at most")
		}
		line = append(line, buf[:n]...)
		for {
			head, rest, ok := bytes.Cut(line, []byte("\n"))
			if len(head) > client.MaxLine {
				return errLong
			}
			if !ok {
				break
			}
			r, err := decode(head)
			if err != nil {
				return err
			}
			handle(r, fd)
			closeFD(fd)
			fd, line = -1, rest
		}
		line = bytes.Clone(line)
	}
}

// rights returns the descriptors that came with a message.
func rights(oob []byte) (list []int, err error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		fds, ferr := unix.ParseUnixRights(&messages[i])
		list = append(list, fds...)
		err = errors.Join(err, ferr)
	}
	return list, err
}

func closeFD(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}

// decode reads a request.
func decode(line []byte) (*client.Request, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	var r client.Request
	if err := d.Decode(&r); err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("request: more than one in a line")
	}
	return &r, nil
}
