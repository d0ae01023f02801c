// Two settings of the runtime, for a start without detours: it need not find
// out, in six files, how many processors a container has.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command netjail runs programs under a firewall of their own. See package cli.
package main

import (
	"context"
	"os"

	"github.com/netjail/netjail/cmd/netjail/cli"
)

func main() {
	os.Exit(cli.Run(context.Background(), os.Args, os.Stdout, os.Stderr))
}
