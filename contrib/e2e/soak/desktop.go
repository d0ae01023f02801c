package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
)

const itsName = "org.freedesktop.Notifications"

// busConfig is a session bus that starts nothing by itself.
const busConfig = `<busconfig>
  <type>session</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>
`

func itoa(n int) string { return strconv.Itoa(n) }

// desktop is a session bus and a notification service that presses buttons.
type desktop struct {
	w       *world
	bus     *exec.Cmd
	service *exec.Cmd
}

// addDesktop gives the world a desktop, on which questions are asked from then
// on.
func (w *world) addDesktop(ctx context.Context) error {
	w.env = append(w.env, "DBUS_SESSION_BUS_ADDRESS=unix:path="+filepath.Join(w.dir, "bus"))
	conf := fmt.Sprintf(busConfig, filepath.Join(w.dir, "bus"))
	if err := os.WriteFile(filepath.Join(w.dir, "bus.conf"), []byte(conf), 0o600); err != nil {
		return err
	}
	w.desktop = &desktop{w: w}
	w.atEnd(w.desktop.killBus)
	return w.desktop.startBus(ctx)
}

// begin starts a command, and returns when it says that it is ready. What it
// says then can be read.
func begin(cmd *exec.Cmd) (*bufio.Reader, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	r := bufio.NewReader(out)
	if _, err := r.ReadString('\n'); err != nil {
		return nil, fmt.Errorf("%v: it says nothing: %w", cmd.Args, err)
	}
	return r, nil
}

func (d *desktop) startBus(ctx context.Context) error {
	d.bus = exec.Command("dbus-daemon", "--nofork", "--print-address", "--config-file", filepath.Join(d.w.dir, "bus.conf"))
	d.bus.Env, d.bus.Dir = d.w.env, d.w.dir
	d.bus.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if _, err := begin(d.bus); err != nil {
		return err
	}
	return d.startService(ctx)
}

func (d *desktop) startService(context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	d.service = exec.Command(self, "inner:notify", itoa(d.w.of(asked).port), itoa(d.w.of(refused).port))
	d.service.Env, d.service.Stderr = d.w.env, d.w.log
	_, err = begin(d.service)
	return err
}

func (d *desktop) killService() {
	_ = d.service.Process.Kill()
	_ = d.service.Wait()
}

func (d *desktop) killBus() {
	_ = d.bus.Process.Kill()
	_ = d.bus.Wait()
	d.killService()
}

// notifications are what the inner program puts on the bus.
type notifications struct {
	conn    *dbus.Conn
	yes, no string // ports
	id      atomic.Uint32
}

func (*notifications) GetCapabilities() ([]string, *dbus.Error) {
	return []string{"actions", "body", "persistence"}, nil
}

func (*notifications) GetServerInformation() (string, string, string, string, *dbus.Error) {
	return "soak", "netjail", "1", "1.2", nil
}

// Notify presses a button soon.
func (n *notifications) Notify(_ string, replaces uint32, _, summary, body string, actions []string, _ map[string]dbus.Variant, _ int32) (uint32, *dbus.Error) {
	id := replaces
	if id == 0 {
		id = n.id.Add(1)
	}
	want := ""
	switch text := summary + " " + body; {
	case mentions(text, n.yes):
		want = "Allow once"
	case mentions(text, n.no):
		want = "Deny"
	}
	for i := 0; i+1 < len(actions); i += 2 {
		if key := actions[i]; actions[i+1] == want {
			time.AfterFunc(time.Duration(rand.IntN(30))*time.Millisecond, func() {
				_ = n.conn.Emit("/org/freedesktop/Notifications", itsName+".ActionInvoked", id, key)
			})
		}
	}
	return id, nil
}

func (n *notifications) CloseNotification(id uint32) *dbus.Error {
	_ = n.conn.Emit("/org/freedesktop/Notifications", itsName+".NotificationClosed", id, uint32(3))
	return nil
}

// mentions says whether a number is in a text, not as a part of another one.
func mentions(text, number string) bool {
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r < '0' || r > '9' }) {
		if word == number {
			return true
		}
	}
	return false
}

// notificationService allows once what is about the first port, and denies what
// is about the second. It ends with its bus.
func notificationService(args []string) int {
	conn, err := dbus.ConnectSessionBus()
	if err == nil {
		n := &notifications{conn: conn, yes: args[0], no: args[1]}
		err = conn.Export(n, "/org/freedesktop/Notifications", itsName)
	}
	if err == nil {
		var r dbus.RequestNameReply
		r, err = conn.RequestName(itsName, dbus.NameFlagDoNotQueue|dbus.NameFlagReplaceExisting)
		if err == nil && r != dbus.RequestNameReplyPrimaryOwner {
			err = errors.New("somebody else owns " + itsName)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak: notifications:", err)
		return 1
	}
	fmt.Println("ready")
	<-conn.Context().Done()
	return 0
}
