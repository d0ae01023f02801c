package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/guard/client"
	"github.com/netjail/netjail/daemon/guard/service"
)

const guardLong = `Serve all users of this machine as the kernel's part of a jail (root only).
Jails take it where it runs, and netjail --guard nft insists on it.

It has nftables drop what a jail was not allowed, by its cgroup, even when
netjail itself was killed. It takes network away from processes of the users
who ask, and from no others. When it ends, the jails that run are shut.

Install it once, so that systemd starts it when it is needed:
  install -m 755 netjail /usr/local/bin/
  install -m 644 contrib/systemd/netjail-guard.* /etc/systemd/system/
  systemctl daemon-reload
  systemctl enable --now netjail-guard.socket

Without systemd, run it as root: netjail guard`

func (a *app) guardCommand() *cobra.Command {
	socket := client.Socket
	c := &cobra.Command{
		Use:   "guard",
		Short: "Have the kernel drop what jails were not allowed (root; a service)",
		Long:  guardLong,
		Args:  hinting(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if os.Getuid() != 0 {
				return hint(errors.New("guard: only root can have the kernel drop packets"), "sudo netjail guard, or install the service: netjail guard --help")
			}
			l, err := service.Listen(socket)
			if err != nil {
				return fmt.Errorf("guard: %w", err)
			}
			ctx, stop := signal.NotifyContext(c.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			err = service.Run(ctx, service.Config{Listener: l, Log: slog.New(slog.NewTextHandler(a.err, nil))})
			if errors.Is(err, unix.EPERM) {
				return hint(fmt.Errorf("guard: %w", err), "it needs CAP_NET_ADMIN, and nobody else who listens to its log group")
			}
			if err != nil {
				return fmt.Errorf("guard: %w", err)
			}
			return nil
		},
	}
	c.Flags().StringVar(&socket, "socket", socket, "listen there")
	return c
}
