// Command launcher runs a program under the filter, which allows everything, and in a jail
// of the guard's, which allows what the environment says. It is a program of its
// own because what package interpose does between fork and exec cannot be built
// with a fuzzer's instruments.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/netjail/netjail/daemon/guard/client"
	"github.com/netjail/netjail/interpose"
)

func main() {
	if err := launch(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// yes is a policy that answers yes to everything.
type yes struct{}

func (yes) Check(*interpose.Call) interpose.Verdict                   { return interpose.Allow }
func (yes) Decide(context.Context, *interpose.Call) interpose.Verdict { return interpose.Allow }

func launch() error {
	s, err := interpose.Prepare(&interpose.Command{Path: os.Getenv("SELF"), Args: []string{"victim"}, Env: []string{"NETJAIL_TEST_ROLE=victim"}})
	if err != nil {
		return err
	}
	c, err := client.Dial(os.Getenv("SOCKET"))
	if err != nil {
		return err
	}
	defer c.Close()
	keeper, err := unix.PidfdOpen(s.Keeper(), 0)
	if err != nil {
		return err
	}
	defer unix.Close(keeper)
	if _, err := c.Confine(keeper); err != nil {
		return err
	}
	p, err := s.Start()
	if err != nil {
		return err
	}
	if err := c.Free(); err != nil {
		return err
	}
	if err := c.Free(); err == nil {
		return errors.New("freed twice")
	}
	if err := c.Allow(dests(strings.Fields(os.Getenv("ALLOW")))...); err != nil {
		return err
	}
	go func() { _ = interpose.NewSupervisor(p.TakeListener(), yes{}, nil).Serve(context.Background()) }()
	_, err = p.Wait()
	return err
}

// dests reads "tcp 10.0.0.1:80" and so on.
func dests(words []string) (list []client.Dest) {
	for ; len(words) >= 2; words = words[2:] {
		at := netip.MustParseAddrPort(words[1])
		list = append(list, client.Dest{Proto: words[0], Addr: at.Addr(), Port: at.Port()})
	}
	return list
}
