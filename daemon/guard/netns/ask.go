package netns

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// What the process inside is asked for, a byte each. It answers with files, or with
// why there are none.
const (
	askReady    = 'r' // the resolver's sockets, once all is made
	askSockDiag = 'd' // a socket of NETLINK_SOCK_DIAG
	askListen   = 'l' // a socket that listens on loopback for TCP, at the port that follows
	askDrain    = 'e' // to wait until what programs have sent is under way
	askKill     = 'k' // to end the process of the pidfd that comes with it when the jail is closed
)

// maxFiles is how many files come with a message at most.
const maxFiles = 4

// ask asks the process inside.
func (n *Net) ask(what byte, give *os.File, more ...byte) ([]*os.File, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.asker.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return nil, err
	}
	var give1 []*os.File
	if give != nil {
		give1 = append(give1, give)
	}
	if err := pass(n.asker, append([]byte{what}, more...), give1); err != nil {
		return nil, fmt.Errorf("ask inside: %w", err)
	}
	text, files, err := receive(n.asker)
	switch {
	case err != nil:
		return nil, fmt.Errorf("ask inside: %w", err)
	case len(text) > 1:
		return nil, errors.New(string(text[1:]))
	case (what == askSockDiag || what == askListen) && len(files) != 1:
		return nil, errors.New("ask inside: no socket came")
	}
	return files, nil
}

// answer answers what comes, until nobody asks any more.
func answer(c *net.UnixConn, do func(text []byte, given []*os.File) ([]*os.File, error)) {
	for {
		text, given, err := receive(c)
		if err != nil {
			return
		}
		files, err := do(text, given)
		reply := text[:1]
		if err != nil {
			reply = append(reply, err.Error()...)
		}
		if pass(c, reply, files) != nil {
			return
		}
	}
}

// pass sends a message and files.
func pass(c *net.UnixConn, text []byte, files []*os.File) error {
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	_, _, err := c.WriteMsgUnix(text, rights, nil)
	return err
}

// receive receives a message, of one byte at least, and the files that came with it.
func receive(c *net.UnixConn) (text []byte, files []*os.File, err error) {
	text, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*maxFiles))
	n, oobn, _, _, err := c.ReadMsgUnix(text, oob)
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		return nil, nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return nil, nil, err
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return nil, nil, err
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	return text[:n], files, nil
}
