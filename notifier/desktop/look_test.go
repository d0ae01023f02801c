package desktop

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/netjail/netjail/notifier"
)

// TestLook asks services, and shows nothing.
func TestLook(t *testing.T) {
	bus, _ := privateBus(t)
	s := serve(t, bus.address, []string{"actions", "body"}, map[string]any{
		"GetServerInformation": func() (string, string, string, string, *dbus.Error) { return "test", "us", "1.2", "1.2", nil },
	})
	got, err := Look(t.Context(), bus.address)
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != "test" || got.Version != "1.2" || got.PID != os.Getpid() || !slices.Equal(got.Capabilities, []string{"actions", "body"}) {
		t.Errorf("got %+v", got)
	}
	select {
	case n := <-s.shown:
		t.Errorf("shown: %+v", n)
	default:
	}
}

// TestLookInVain: what is wrong is told apart.
func TestLookInVain(t *testing.T) {
	empty, _ := privateBus(t)
	broken, _ := privateBus(t)
	serve(t, broken.address, nil, map[string]any{"GetCapabilities": func() (uint32, *dbus.Error) { return 7, nil }})
	silent := filepath.Join(t.TempDir(), "bus")
	l, err := net.Listen("unix", silent)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range []struct {
		name, address string
		is, isNot     error
	}{
		{"no service", empty.address, notifier.ErrNobody, ErrNoBus},
		{"no bus", "unix:path=/nonexistent", ErrNoBus, context.DeadlineExceeded},
		{"no address", "", ErrNoBus, context.DeadlineExceeded},
		{"a service of another kind", broken.address, notifier.ErrNobody, ErrNoBus},
		{"a bus that says nothing", "unix:path=" + silent, context.DeadlineExceeded, ErrNoBus},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			if c.is == context.DeadlineExceeded {
				cancel()
				ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
			}
			defer cancel()
			if s, err := Look(ctx, c.address); !errors.Is(err, c.is) || errors.Is(err, c.isNot) {
				t.Errorf("got %+v and %v, want %v", s, err, c.is)
			}
		})
	}
}
