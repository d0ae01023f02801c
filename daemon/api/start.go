package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// startTimeout bounds how long a daemon may take to answer its socket.
const startTimeout = 5 * time.Second

// DaemonArgs are the arguments, behind the program's name, that make netjail
// the daemon that DialOrStart starts.
var DaemonArgs = []string{"daemon", "--on-demand"}

// ReadyFile is the descriptor on which a daemon started by DialOrStart says
// "ready", or why it could not start, in one line.
const ReadyFile = 3

// DialOrStart connects to the daemon of runtimeDir and starts one, from this
// very executable, when there is none.
func DialOrStart(ctx context.Context, runtimeDir string, events func(*Message)) (*Client, error) {
	path := SocketPath(runtimeDir)
	c, err := Dial(path, events)
	if err == nil || !absent(err) {
		return c, err
	}
	if err := startDaemon(); err != nil {
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	// Another one may have been faster, and not be listening yet.
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for wait := time.Millisecond; ; wait *= 2 {
		if c, err = Dial(path, events); err == nil || !absent(err) {
			return c, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, err
		}
	}
}

func absent(err error) bool {
	return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED)
}

// startDaemon returns when the daemon it started is ready, or another one runs.
// The daemon gets a session of its own and nothing of ours but the environment.
func startDaemon() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	p, err := os.StartProcess("/proc/self/exe", append([]string{"netjail"}, DaemonArgs...), &os.ProcAttr{
		Dir:   "/",
		Env:   os.Environ(),
		Files: []*os.File{null, null, null, w}, // w is ReadyFile
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	w.Close()
	if err != nil {
		return err
	}
	defer p.Release()
	if err := r.SetReadDeadline(time.Now().Add(startTimeout)); err != nil {
		return err
	}
	line, err := bufio.NewReader(r).ReadString('\n')
	switch line = strings.TrimSpace(line); {
	case line == "ready":
		return nil
	case line != "":
		return errors.New(line)
	case err != nil:
		return fmt.Errorf("it said nothing: %w", err)
	}
	return nil
}
