package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon"
	"github.com/netjail/netjail/daemon/api"
)

// idleOnDemand is how long a daemon that was started on demand stays without
// any connection.
const idleOnDemand = time.Minute

func (a *app) daemonCommand() *cobra.Command {
	var onDemand bool
	var idle, timeout time.Duration
	c := &cobra.Command{
		Use:   "daemon",
		Short: "Serve rules and questions (started on demand by the first netjail)",
		Args:  hinting(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			cfg := daemon.Config{Idle: idle, Timeout: timeout}
			if onDemand {
				return serveOnDemand(ctx, cfg)
			}
			cfg.Log = slog.New(slog.NewTextHandler(a.err, nil))
			return daemon.Run(ctx, cfg)
		},
	}
	c.Flags().DurationVar(&idle, "idle", 0, "leave after `TIME` without a client (0: stay)")
	c.Flags().DurationVar(&timeout, "question-timeout", 0, "deny a call whose question is `TIME` old (default 1m0s)")
	c.Flags().BoolVar(&onDemand, "on-demand", false, "")
	_ = c.Flags().MarkHidden("on-demand")
	return c
}

// serveOnDemand serves, and tells whoever started it when it is ready, or why
// it is not.
func serveOnDemand(ctx context.Context, cfg daemon.Config) error {
	ready := os.NewFile(api.ReadyFile, "ready")
	defer ready.Close()
	unix.CloseOnExec(api.ReadyFile)
	if cfg.Idle == 0 {
		cfg.Idle = idleOnDemand
	}
	cfg.Ready = func() {
		fmt.Fprintln(ready, "ready")
		ready.Close()
	}
	err := daemon.Run(ctx, cfg)
	if errors.Is(err, daemon.ErrRunning) {
		cfg.Ready() // another one was faster
		return nil
	}
	if err != nil {
		fmt.Fprintln(ready, err)
	}
	return err
}
