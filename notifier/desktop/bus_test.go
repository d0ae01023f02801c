package desktop

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// wait bounds what should come soon. A test that reaches it has failed.
const wait = time.Minute

// activated, in the environment, makes the test binary a notification service
// that presses "Deny" on whatever it is shown.
const activated = "NETJAIL_TEST_NOTIFICATION_SERVICE"

func TestMain(m *testing.M) {
	if os.Getenv(activated) != "" {
		os.Exit(serveActivated())
	}
	os.Exit(m.Run())
}

const busConfig = `<busconfig>
  <type>session</type>
  <listen>unix:path=%s/bus</listen>
  <servicedir>%s</servicedir>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
  </policy>
</busconfig>`

// privateBus starts a bus of the test's own and returns it and its folder for
// service files.
func privateBus(t *testing.T) (b *bus, dir string) {
	t.Helper()
	daemon, err := exec.LookPath("dbus-daemon")
	if err != nil {
		if os.Getenv("NETJAIL_TEST_REQUIRE") == "1" {
			t.Fatalf("needs dbus-daemon: %v", err)
		}
		t.Skipf("needs dbus-daemon: %v", err)
	}
	dir = t.TempDir()
	config := filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, busConfig, dir, dir), 0o600); err != nil {
		t.Fatal(err)
	}
	return startBus(t, daemon, config), dir
}

// startBus starts the bus of a configuration, also once more.
func startBus(t *testing.T, daemon, config string) *bus {
	t.Helper()
	cmd := exec.Command(daemon, "--nofork", "--print-address", "--config-file", config)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := &bus{cmd: cmd}
	b.again = func() *bus { return startBus(t, daemon, config) }
	t.Cleanup(b.kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("read bus address: %v", err)
	}
	b.address = strings.TrimSpace(line)
	return b
}

// bus is a dbus-daemon.
type bus struct {
	cmd     *exec.Cmd
	address string
	killed  bool
	again   func() *bus // starts one at the same place
}

func (b *bus) kill() {
	if !b.killed {
		b.killed = true
		b.cmd.Process.Kill()
		b.cmd.Wait()
	}
}

// connect returns another program's connection to the bus.
func connect(t *testing.T, address string) *dbus.Conn {
	t.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// settle returns when the bus has handled everything conn sent before.
func settle(t *testing.T, conn *dbus.Conn) {
	t.Helper()
	if err := conn.BusObject().Call("org.freedesktop.DBus.GetId", 0).Err; err != nil {
		t.Fatal(err)
	}
}

// dial returns a Prompter on the bus.
func dial(t *testing.T, address string) *Prompter {
	t.Helper()
	p := New(address, nil)
	t.Cleanup(func() { p.Close() })
	return p
}

// note is what a server was asked to show.
type note struct {
	id, replaces  uint32
	app, icon     string
	summary, body string
	actions       []string
	hints         map[string]dbus.Variant
	timeout       int32
}

// key is the action key of the button with this label.
func (n note) key(t *testing.T, label string) string {
	t.Helper()
	for i := 0; i+1 < len(n.actions); i += 2 {
		if n.actions[i+1] == label {
			return n.actions[i]
		}
	}
	t.Fatalf("no button %q in %q", label, n.actions)
	return ""
}

// server is a notification service.
type server struct {
	conn   *dbus.Conn
	shown  chan note
	closed chan uint32
	early  chan func(note) // called before the next Notify returns

	mu     sync.Mutex
	screen map[uint32]bool // what is on it
	last   uint32
}

// serve owns the service's name on a new connection. methods replace the
// usual ones.
func serve(t *testing.T, address string, caps []string, methods map[string]any) *server {
	t.Helper()
	s := &server{conn: connect(t, address), shown: make(chan note, 64), closed: make(chan uint32, 64), early: make(chan func(note), 1)}
	if err := s.export(caps, methods); err != nil {
		t.Fatal(err)
	}
	return s
}

// put returns the id of a notification that replaces another one, if that is
// there still.
func (s *server) put(replaces uint32) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.screen[replaces] {
		return replaces
	}
	s.last++
	s.screen[s.last] = true
	return s.last
}

// remove takes a notification off the screen, if it is there.
func (s *server) remove(id uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.screen[id]
	delete(s.screen, id)
	return was
}

// click presses a button, which takes the notification off the screen as most
// servers do.
func (s *server) click(t *testing.T, n note, label string) {
	t.Helper()
	was := s.remove(n.id)
	emit(t, s.conn, "ActionInvoked", n.id, n.key(t, label))
	if was {
		emit(t, s.conn, "NotificationClosed", n.id, closeReasonBy)
	}
}

// dismiss is a person who closes a notification.
func (s *server) dismiss(t *testing.T, id uint32) {
	t.Helper()
	if s.remove(id) {
		emit(t, s.conn, "NotificationClosed", id, closeReasonBy)
	}
}

func (s *server) export(caps []string, methods map[string]any) error {
	s.screen, s.last = make(map[uint32]bool), 100
	table := map[string]any{
		"GetCapabilities": func() ([]string, *dbus.Error) { return caps, nil },
		"Notify": func(app string, replaces uint32, icon, summary, body string, actions []string, hints map[string]dbus.Variant, timeout int32) (uint32, *dbus.Error) {
			n := note{s.put(replaces), replaces, app, icon, summary, body, actions, hints, timeout}
			select {
			case f := <-s.early:
				f(n)
			default:
			}
			s.shown <- n
			return n.id, nil
		},
		"CloseNotification": func(id uint32) *dbus.Error { s.remove(id); s.closed <- id; return nil },
	}
	for name, f := range methods {
		table[name] = f
	}
	if err := s.conn.ExportMethodTable(table, path, service); err != nil {
		return err
	}
	reply, err := s.conn.RequestName(service, dbus.NameFlagDoNotQueue)
	if err == nil && reply != dbus.RequestNameReplyPrimaryOwner {
		err = fmt.Errorf("the name %s is taken", service)
	}
	return err
}

// emit sends a signal of the notification service from any connection.
func emit(t *testing.T, conn *dbus.Conn, member string, args ...any) {
	t.Helper()
	if err := conn.Emit(path, service+"."+member, args...); err != nil {
		t.Fatal(err)
	}
}

// drawnBy waits until p knows what it has on the screen: a person takes longer
// to act than the service takes to answer.
func drawnBy(t *testing.T, p *Prompter) {
	t.Helper()
	for end := time.Now().Add(wait); ; time.Sleep(time.Millisecond) {
		busy := false
		p.mu.Lock()
		for s := range p.showing {
			busy = busy || s.drawing || s.now.id == 0
		}
		p.mu.Unlock()
		if !busy {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the notification is not drawn")
		}
	}
}

// serveActivated is the service that the bus starts.
func serveActivated() int {
	conn, err := dbus.Connect(os.Getenv("DBUS_STARTER_ADDRESS"))
	if err != nil {
		return 1
	}
	s := &server{conn: conn, shown: make(chan note, 1), closed: make(chan uint32, 1)}
	if err := s.export([]string{"actions"}, nil); err != nil {
		return 1
	}
	n := <-s.shown
	conn.Emit(path, service+".ActionInvoked", n.id, n.actions[4])
	<-conn.Context().Done() // the test ends the bus
	return 0
}

type result struct {
	a   notifier.Answer
	err error
}

func ask(ctx context.Context, p *Prompter, q notifier.Question) <-chan result {
	c := make(chan result, 1)
	go func() {
		a, err := p.Ask(ctx, q)
		c <- result{a, err}
	}()
	return c
}

// recv takes one value that must come.
func recv[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(wait):
		t.Fatalf("no %s within %v", what, wait)
		panic("unreachable")
	}
}

func question(t *testing.T) notifier.Question {
	t.Helper()
	d, err := rules.ParseDestination("tcp://192.0.2.7:443")
	if err != nil {
		t.Fatal(err)
	}
	return notifier.Question{
		ID: "0123abcd", App: "curl", Dest: d, Exe: "/usr/bin/curl", PID: 1234,
		Command: `curl <b>&amp;</b>`, Waiting: 1, Deadline: time.Now().Add(time.Minute),
	}
}
