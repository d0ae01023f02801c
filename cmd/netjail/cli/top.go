package cli

import (
	"context"
	"fmt"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/cmd/netjail/tui"
	"github.com/netjail/netjail/daemon/api"
)

// endTime is how long top may take to end after a signal.
const endTime = 5 * time.Second

const topLong = `Watch connections and answer questions, on a screen of its own.

While it runs, questions are put to it even where there is no desktop and no
other terminal.

`

func (a *app) topCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "top",
		Short: "Watch connections and answer questions, on a screen of its own",
		Args:  hinting(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			for _, fd := range []int{unix.Stdin, unix.Stdout} {
				if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
					return hint(fmt.Errorf("top needs a terminal: %w", err), "netjail status --json")
				}
			}
			return runTop(c.Context())
		},
	}
	c.SetHelpFunc(func(c *cobra.Command, args []string) {
		c.Long = topLong + tui.Keys() // made when it is read, not at every start
		c.Parent().HelpFunc()(c, args)
	})
	return c
}

// runTop shows the screen until the person has seen enough, or is gone.
func runTop(ctx context.Context) error {
	dir, err := api.RuntimeDir()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	// Who gives back a terminal that is gone may be held up by it. Then the
	// signal does what it does to everybody else.
	defer context.AfterFunc(ctx, func() {
		stop()
		time.AfterFunc(endTime, func() { _ = unix.Kill(unix.Getpid(), unix.SIGTERM) })
	})()
	d := tui.NewDaemon(dir)
	defer d.Close()
	if err := tui.Run(ctx, d); err != nil {
		return hint(err, "netjail status --json")
	}
	return nil
}
