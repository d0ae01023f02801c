package netns

import (
	"errors"
	"fmt"
	"os"

	"github.com/netjail/netjail/daemon/guard/client"
)

// Legacy is what a network is made of again by another process, beside its files.
type Legacy struct {
	Rest     []byte `json:"rest,omitempty"` // of what the process inside has said
	Resolver int    `json:"resolver"`       // how many files are its sockets
}

// The files of a legacy, in this order; the resolver's sockets come then, and what
// is only to be held.
const (
	fileConn = iota
	fileAsker
	fileUser
	fileNet
	fileInside
	filePasta
	fileOthers
)

// HandOver ends what there is of a network here, and returns what another process
// makes it of again: the jail stays as it is. Nothing else may be under way. The
// files are the caller's; when it closes them and nobody has taken the network over,
// the jail is closed.
func (n *Net) HandOver() (Legacy, []*os.File, error) {
	conn, rest, err := n.conn.HandOver()
	if err != nil {
		return Legacy{}, nil, err
	}
	asker, err := n.asker.File()
	if err != nil {
		return Legacy{}, nil, errors.Join(fmt.Errorf("hand over: %w", err), conn.Close())
	}
	files := append([]*os.File{conn, asker, n.user, n.net, n.inside, n.pasta}, n.resolver...)
	return Legacy{Rest: rest, Resolver: len(n.resolver)}, append(files, n.held...), nil
}

// Resume takes a network over. It owns the files.
func Resume(l Legacy, files []*os.File) (*Net, error) {
	if l.Resolver < 0 || len(files) < fileOthers+l.Resolver {
		for _, f := range files {
			f.Close()
		}
		return nil, fmt.Errorf("take over: %d files", len(files))
	}
	n := &Net{
		user: files[fileUser], net: files[fileNet], inside: files[fileInside], pasta: files[filePasta],
		resolver: files[fileOthers : fileOthers+l.Resolver], held: files[fileOthers+l.Resolver:],
		done: make(chan struct{}),
	}
	var err error
	if n.conn, err = client.Resume(files[fileConn], l.Rest); err == nil {
		n.asker, err = connOf(files[fileAsker])
	} else {
		files[fileAsker].Close()
	}
	if err != nil {
		n.drop()
		return nil, fmt.Errorf("take over: %w", err)
	}
	go func() {
		n.watch()
		close(n.done)
	}()
	return n, nil
}
