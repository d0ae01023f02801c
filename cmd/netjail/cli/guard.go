package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/daemon/guard"
	"github.com/netjail/netjail/daemon/jail"
)

// addGuard takes what the flags say of the guard of a run. What is chosen for
// somebody who asks for none is said once.
func (a *app) addGuard(f *runFlags, cfg *jail.Config) (err error) {
	if cfg.Guard, err = guard.Parse(f.guard); err != nil {
		return fmt.Errorf("--guard: %w", err)
	}
	if cfg.Leave, err = guard.ParseLeave(f.leave); err != nil {
		return fmt.Errorf("--no-scope: %w", err)
	}
	cfg.GuardSocket = f.guardSocket
	if cfg.Guard == guard.Auto && isTerminal(a.err) {
		cfg.Chosen = func(g guard.Guard) {
			if firstTime(g.Kind) {
				fmt.Fprintf(a.err, "netjail: guard: %s; netjail status tells\n", g)
			}
		}
	}
	return nil
}

// firstTime says whether this user has not been told of a guard yet, and that it
// is told now. Where that cannot be kept nothing is told, or it would be each
// time.
func firstTime(k guard.Kind) bool {
	dir, err := api.StateDir()
	if err != nil || os.MkdirAll(dir, 0o700) != nil {
		return false
	}
	f, err := os.OpenFile(filepath.Join(dir, "told-guard-"+string(k)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
