package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/notifier"
)

// running is a daemon that serves on a socket, in this process.
type running struct {
	*server
	t    *testing.T
	path string
}

func newRunning(t *testing.T, change func(*server)) *running {
	t.Helper()
	dir := t.TempDir()
	s := newServer(Config{
		RuntimeDir: dir, ConfigDir: filepath.Join(dir, "config", "rules"), StateDir: filepath.Join(dir, "state"), Log: slog.New(slog.DiscardHandler),
	})
	if change != nil {
		change(s)
	}
	l, err := listen(api.SocketPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("serve: %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("the daemon does not end")
		}
	})
	return &running{s, t, api.SocketPath(dir)}
}

// dial connects as somebody who speaks for itself.
func (r *running) dial() net.Conn {
	r.t.Helper()
	c, err := net.Dial("unix", r.path)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c
}

// client connects as netjail does.
func (r *running) client() *api.Client {
	r.t.Helper()
	c, err := api.Dial(r.path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := c.Listen(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c
}

// wantAnswer has a jail ask, and a front end answer, in time.
func (r *running) wantAnswer(when string, limit time.Duration) {
	r.t.Helper()
	begun := time.Now()
	a, err := r.queue.Ask(r.t.Context(), notifier.Question{App: "curl", Dest: dest(r.t, "tcp://192.0.2.7:443")}, []notifier.Prompter{yes{}})
	var st api.Status
	if err == nil {
		err = r.client().Call(r.t.Context(), api.OpStatus, nil, &st)
	}
	if took := time.Since(begun); err != nil || took > limit {
		r.t.Errorf("%s: got %+v, %v after %v", when, a, err, took)
	}
}

// yes is a prompter that answers at once.
type yes struct{}

func (yes) Ask(_ context.Context, q notifier.Question) (notifier.Answer, error) {
	return notifier.Answer{Dest: q.Dest}, nil
}

// wantCutOff waits for the other end to end a connection.
func wantCutOff(t *testing.T, what string, c net.Conn, limit time.Duration) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Errorf("%s: not cut off after %v", what, limit)
	}
}

// TestDeaf: a client that asks and never reads is cut off, and holds up nobody.
func TestDeaf(t *testing.T) {
	r := newRunning(t, nil)
	for range 20 {
		c := r.dial()
		go func() {
			for i := 0; ; i++ {
				if _, err := fmt.Fprintf(c, `{"v":1,"id":%d,"op":"status"}`+"\n", i); err != nil {
					return
				}
			}
		}()
	}
	time.Sleep(100 * time.Millisecond) // for the crowd to gather
	r.wantAnswer("under a crowd", 5*time.Second)
	deadline := time.Now().Add(time.Minute)
	for ; time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		r.mu.Lock()
		n := len(r.conns)
		r.mu.Unlock()
		if n <= 1 {
			return
		}
	}
	t.Error("they are not cut off")
}

// TestCutOff: who does not say what it wants is cut off; who has said it may be
// silent.
func TestCutOff(t *testing.T) {
	mute := &jail{conn: api.NewConn(make(supervisor, 10*maxAtOnce), maxRequest), gone: make(chan struct{})}
	r := newRunning(t, func(s *server) {
		s.hurry = 300 * time.Millisecond
		s.jails[mute] = struct{}{}
	})
	polite := r.client()
	if err := polite.Call(t.Context(), api.OpStatus, nil, nil); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		say  func(net.Conn)
	}{
		{"silent", func(net.Conn) {}},
		{"half a line", func(c net.Conn) { _, _ = c.Write([]byte(`{"v":1,`)) }},
		{"a letter now and then", func(c net.Conn) {
			for range 1000 {
				if _, err := c.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}},
		{"half a second line", func(c net.Conn) { _, _ = c.Write([]byte(`{"v":1,"id":1,"op":"status"}` + "\n" + `{"v":`)) }},
		{"no end", func(c net.Conn) {
			for block := make([]byte, 1<<20); ; {
				if _, err := c.Write(block); err != nil {
					return
				}
			}
		}},
		{"no JSON", func(c net.Conn) { _, _ = c.Write([]byte("GET / HTTP/1.1\r\n\r\n")) }},
		{"a deep JSON", func(c net.Conn) { _, _ = c.Write([]byte(strings.Repeat("[", 1<<20) + "\n")) }},
		{"another age", func(c net.Conn) { _, _ = c.Write([]byte(`{"v":7,"op":"status"}` + "\n")) }},
		{"all at once", func(c net.Conn) { _, _ = c.Write([]byte(strings.Repeat(endless, maxAtOnce+1))) }},
		{"nothing after", func(c net.Conn) { _ = c.(*net.UnixConn).CloseWrite() }},
		{"twice a jail", func(c net.Conn) { _, _ = c.Write([]byte(registration + registration)) }},
	} {
		c := r.dial()
		go tt.say(c)
		wantCutOff(t, tt.name, c, 20*time.Second)
	}
	time.Sleep(r.hurry + r.hurry/2) // to see that nothing happens
	if err := polite.Call(t.Context(), api.OpStatus, nil, nil); err != nil {
		t.Errorf("a client that was silent for a while: %v", err)
	}
}

// registration makes a connection a jail's, endless is a request that takes its
// time: until a supervisor that says nothing is given up.
const (
	registration = `{"v":1,"id":1,"op":"jail.register","data":{"app":"curl","jail":"j"}}` + "\n"
	endless      = `{"v":1,"id":2,"op":"connections"}` + "\n"
)

// TestCrowd: silent clients take no room from those that were there, and give it
// back.
func TestCrowd(t *testing.T) {
	r := newRunning(t, func(s *server) { s.hurry = 2 * time.Second })
	before := r.client()
	if err := before.Call(t.Context(), api.OpStatus, nil, nil); err != nil {
		t.Fatal(err)
	}
	for range maxClients + 200 {
		r.dial()
	}
	if err := before.Call(t.Context(), api.OpStatus, nil, nil); err != nil {
		t.Errorf("who was there: %v", err)
	}
	c, err := api.Dial(r.path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Ask(api.OpStatus, nil, nil); err == nil || err.Error() != errCrowded.Error() {
		t.Errorf("who comes too late: got %v, want %v", err, errCrowded)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if c, err := api.Dial(r.path, nil); err == nil {
			err := c.Ask(api.OpStatus, nil, nil)
			c.Close()
			if err == nil {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("there is no room afterwards")
		}
	}
}

// TestNoDescriptors: a daemon that has no descriptors left goes on when it has.
func TestNoDescriptors(t *testing.T) {
	r := newRunning(t, nil)
	before := r.client()
	if err := before.Call(t.Context(), api.OpStatus, nil, nil); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	none := was
	none.Cur = 3
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: r.path})
	time.Sleep(2 * shortage) // it finds none, and waits
	if restore := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); restore != nil {
		t.Fatal(restore)
	}
	late := os.NewFile(uintptr(fd), "late")
	defer late.Close()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := late.WriteString(`{"v":1,"id":1,"op":"status"}` + "\n"); err != nil {
		t.Fatal(err)
	}
	if n, err := late.Read(make([]byte, 1)); n != 1 {
		t.Errorf("who came meanwhile: %v", err)
	}
	r.wantAnswer("afterwards", time.Minute)
}

// FuzzServe has a client say anything. Each line of the daemon's is a message,
// and it goes on serving others.
func FuzzServe(f *testing.F) {
	for _, seed := range []string{
		`{"v":1,"id":1,"op":"status"}`, registration, endless, "{}", "null", "[]", `{"v":1,"op":"rules.add","data":{"app":"@all","verdict":"deny","destination":"@any"}}`,
		registration + `{"v":1,"id":2,"op":"jail.ask","data":{"dest":"tcp://192.0.2.1:80"}}`, `{"v":1,"id":1,"op":"rules.write","data":{"app":"x","text":"[[rule]]"}}`,
		registration + `{"v":1,"id":3,"op":"jail.flows","data":{"request":1,"flows":[{}],"last":true}}`, `{"v":1,"id":1,"op":"question.watch"}`,
		`{"v":1,"id":1,"op":"history.query","data":{"limit":-1}}`, `{"v":1,"id":1,"op":"rules.import","data":{"rules":[{"app":"x","destination":"*"}]}}`,
		`{"v":1,"id":1,"op":"stop","data":{"jail":"j"}}`, `{"v":1,"op":"cancel","data":18446744073709551615}`, `{"v":1,"id":1,"op":"explain"}`, "\x00\xff",
	} {
		f.Add([]byte(seed + "\n"))
	}
	dir := f.TempDir()
	s := newServer(Config{
		RuntimeDir: dir, ConfigDir: filepath.Join(dir, "config", "rules"), StateDir: filepath.Join(dir, "state"), Timeout: 10 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
	})
	s.history.Close() // a disk is not what is fuzzed
	f.Fuzz(func(t *testing.T, said []byte) {
		here, there := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.converse(t.Context(), api.NewConn(there, 1<<16), peer{})
		}()
		replies := make(chan struct{})
		go func() {
			defer close(replies)
			for in := bufio.NewScanner(here); in.Scan(); {
				var m api.Message
				if err := json.Unmarshal(in.Bytes(), &m); err != nil || m.V != api.Version {
					t.Errorf("%q: the daemon says %q", said, in.Text())
				}
			}
		}()
		_ = here.SetWriteDeadline(time.Now().Add(time.Minute))
		_, _ = here.Write(said)
		here.Close()
		<-replies
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatalf("%q: the conversation does not end", said)
		}
	})
}
