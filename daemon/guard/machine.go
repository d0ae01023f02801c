package guard

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/netjail/netjail/daemon/guard/client"
	"github.com/netjail/netjail/daemon/guard/netns"
	"github.com/netjail/netjail/interpose"
)

// Machine is what there is to choose from.
type Machine struct {
	ABI    int // of Landlock; 0: none
	Errata int // of it that are fixed: bit 0 is erratum 1

	// Probes say of a guard whether it is to be had: nil, or a *Missing. One
	// without is not.
	Probes map[Kind]Probe
}

// FixedErrata returns the numbers of Landlock's errata that this kernel has fixed.
func (m *Machine) FixedErrata() (list []int) {
	for i := range 31 {
		if m.Errata&(1<<i) != 0 {
			list = append(list, i+1)
		}
	}
	return list
}

// Probe tries whether a guard is to be had.
type Probe func() error

// Here looks at this machine. The guard service listens at socket; "": where it is
// installed to.
func Here(socket string) Machine {
	m := Machine{Probes: map[Kind]Probe{
		NFT:   func() error { return probeService(cmp.Or(socket, client.Socket)) },
		Netns: func() error { return NoNetwork(netns.Probe()) },
	}}
	m.ABI, m.Errata = interpose.Landlock()
	return m
}

// Missing says why a guard is not to be had, and what to do about it.
type Missing struct {
	Kind Kind
	What string
	Get  string
}

func (m *Missing) Error() string { return fmt.Sprintf("guard %s: %s", m.Kind, m.What) }

// probeService connects to the guard service.
func probeService(socket string) error {
	c, err := client.Dial(socket)
	if err != nil {
		return NoService(err)
	}
	c.Close()
	return nil
}

// NoService is why jails do without the guard service.
func NoService(err error) error {
	if errors.Is(err, client.ErrNotRunning) {
		return &Missing{NFT, "the guard service does not run", "install it once, as root: netjail guard --help tells how"}
	}
	return &Missing{NFT, err.Error(), "see what the guard service logs; --guard landlock does without it"}
}

// NoNetwork is why a jail has no network of its own, or nil.
func NoNetwork(err error) error {
	var missing *netns.Missing
	if errors.As(err, &missing) {
		return &Missing{Netns, missing.What, missing.Get + "; --guard landlock takes no network of its own"}
	}
	return err
}

// has says why a guard is not to be had here, or nil.
func (m *Machine) has(k Kind) error {
	if probe := m.Probes[k]; probe != nil {
		return probe()
	}
	switch {
	case k == Strict, k == Landlock && m.ABI >= 4:
		return nil
	case k == Landlock && m.ABI > 0:
		return &Missing{k, fmt.Sprintf("Landlock of this kernel knows no network (ABI %d)", m.ABI), landlockHint}
	case k == Landlock:
		return &Missing{k, "this kernel has no Landlock", landlockHint}
	}
	return &Missing{Kind: k, What: "it was not looked for", Get: "--guard landlock takes nothing but a kernel"}
}

const landlockHint = "it takes Linux 6.7 or newer with landlock in its lsm= list (/sys/kernel/security/lsm)"
