package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/notifier/desktop"
)

const noDesktop = "questions on the desktop: they come on the terminal only, or stay in netjail pending"

// tryNotification asks the notification service what it can do.
func tryNotification(ctx context.Context, v *visit) Result {
	address := v.getenv("DBUS_SESSION_BUS_ADDRESS")
	if address == "" {
		fix := "dbus-run-session, or log in to a desktop"
		if bus := filepath.Join(v.getenv("XDG_RUNTIME_DIR"), "bus"); filepath.IsAbs(bus) && v.exists(bus) {
			fix = "export DBUS_SESSION_BUS_ADDRESS=unix:path=" + bus
		}
		return lost("DBUS_SESSION_BUS_ADDRESS is not set", noDesktop, fix)
	}
	server, err := desktop.Look(ctx, address)
	return service(server, err)
}

// service says what a notification service is good for.
func service(s desktop.Server, err error) Result {
	switch {
	case errors.Is(err, desktop.ErrNoBus):
		return lost(err.Error(), noDesktop, "is DBUS_SESSION_BUS_ADDRESS that of this login?")
	case errors.Is(err, context.DeadlineExceeded):
		return lost("the session bus, or the service on it, does not answer", noDesktop, "start your notification service anew")
	case err != nil:
		return lost(err.Error(), noDesktop, "start a notification service: your desktop's, dunst or mako")
	}
	detail := fmt.Sprintf("%s (process %d): %s", name(s), s.PID, strings.Join(s.Capabilities, " "))
	if !slices.Contains(s.Capabilities, "actions") {
		return lost(detail, "buttons: questions are shown, and answered with netjail pending or on the terminal",
			"use a notification service with actions: your desktop's, dunst or mako")
	}
	return ok(detail)
}

func name(s desktop.Server) string {
	const long = 40
	return notifier.Clean(strings.Join(strings.Fields(s.Name+" "+s.Version), " "), long)
}

func tryTerminal(context.Context, *visit) Result {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return lost("none: "+symbol(err), "questions on the terminal", "run netjail in one, or with --no-prompt and rules")
	}
	f.Close()
	return ok("questions can be asked on it")
}
