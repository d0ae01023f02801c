package escape

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

const (
	notifications = "org.freedesktop.Notifications"
	notePath      = dbus.ObjectPath("/org/freedesktop/Notifications")
	busConfig     = `<busconfig><type>session</type><listen>unix:path=%s</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>`
)

// service is a notification service which, when it is asked something, first
// has another client of the bus answer.
type service struct {
	x            *trial
	conn, forger *dbus.Conn

	answers sync.WaitGroup

	mu     sync.Mutex
	id     uint32
	honest string         // the button that the service itself presses
	shown  map[string]int // how often, by button
}

// withForger starts a bus with a notification service. What is not decided is
// asked there, and the service says no, but another client says yes before.
func withForger(x *trial) {
	x.t.Helper()
	if !x.jailed {
		return
	}
	s := &service{x: x, shown: make(map[string]int)}
	address := x.startBus()
	s.conn, s.forger = x.busClient(address), x.busClient(address)
	if err := s.conn.Export(s, notePath, notifications); err != nil {
		x.t.Fatal(err)
	}
	if r, err := s.conn.RequestName(notifications, dbus.NameFlagDoNotQueue); err != nil || r != dbus.RequestNameReplyPrimaryOwner {
		x.t.Fatalf("own %s: %v, %v", notifications, r, err)
	}
	x.home.Env = append(x.home.Env, "DBUS_SESSION_BUS_ADDRESS="+address)
	x.home.StopDaemon() // it has no bus yet
	// The control: the same answer, from the service, counts.
	s.press("Allow once")
	port := strconv.Itoa(x.denied.port)
	x.home.Run("--", helper(x.t), "plain", port, port)
	if x.denied.settled(x.t).all == 0 {
		x.t.Error("nobody was asked: the service's own answer does nothing")
	}
	x.denied.forget()
	s.press("Deny")
	x.asks = true
	x.ends = append(x.ends, func() {
		s.answers.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.shown["Deny"] == 0 {
			x.t.Error("nothing was asked in the jail")
		}
	})
}

func (s *service) press(label string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.honest = label
}

func (x *trial) startBus() string {
	x.t.Helper()
	sock, conf := filepath.Join(x.home.Dir, "bus"), filepath.Join(x.home.Dir, "bus.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, busConfig, sock), 0o600); err != nil {
		x.t.Fatal(err)
	}
	cmd := exec.Command(e2etest.Need(x.t, "dbus-daemon"), "--nofork", "--print-address", "--config-file", conf)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		x.t.Fatalf("the bus says no address: %v", err)
	}
	return strings.TrimSpace(line)
}

func (x *trial) busClient(address string) *dbus.Conn {
	x.t.Helper()
	c, err := dbus.Connect(address)
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { c.Close() })
	return c
}

// GetCapabilities, GetServerInformation, CloseNotification and Notify are what
// a notification service is.
func (s *service) GetCapabilities() ([]string, *dbus.Error) {
	return []string{"actions", "body", "persistence"}, nil
}

func (s *service) GetServerInformation() (name, vendor, version, spec string, err *dbus.Error) {
	return "escape", "netjail", "1", "1.2", nil
}

func (s *service) CloseNotification(uint32) *dbus.Error { return nil }

func (s *service) Notify(_ string, _ uint32, _, _, _ string, actions []string, _ map[string]dbus.Variant, _ int32) (uint32, *dbus.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id++
	s.shown[s.honest]++
	id, honest := s.id, s.honest
	s.answers.Go(func() { s.answer(id, actions, honest) })
	return s.id, nil
}

// answer presses every button as somebody else, and then one as the service.
func (s *service) answer(id uint32, actions []string, honest string) {
	press := ""
	for i := 0; i+1 < len(actions); i += 2 {
		if actions[i+1] == honest {
			press = actions[i]
		} else if honest == "Deny" {
			s.emit(s.forger, id, actions[i])
		}
	}
	// The bus has passed on what was forged.
	if err := s.forger.BusObject().Call("org.freedesktop.DBus.GetId", 0).Err; err != nil {
		s.x.t.Error(err)
	}
	if press == "" {
		s.x.t.Errorf("no button %q in %q", honest, actions)
	}
	s.emit(s.conn, id, press)
}

func (s *service) emit(c *dbus.Conn, id uint32, key string) {
	if err := c.Emit(notePath, notifications+".ActionInvoked", id, key); err != nil {
		s.x.t.Error(err)
	}
}
