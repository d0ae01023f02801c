package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/netjail/netjail/cmd/netjail/preset"
	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/daemon/jail"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// addPresets allows a run what presets name, and says so.
func (a *app) addPresets(ctx context.Context, names []string, cfg *jail.Config) error {
	for _, name := range names {
		p, err := findPreset(ctx, name)
		if err != nil {
			return fmt.Errorf("--%w", err)
		}
		for _, e := range p.Entries {
			fmt.Fprintf(a.err, "netjail: preset %s allows %s (%s)\n", name, e.Dest, notifier.Clean(e.From, 200))
			cfg.Rules = append(cfg.Rules, api.FromRule(&rules.Rule{App: cfg.App, Verdict: rules.Allow, Dest: e.Dest, By: "flag"}))
		}
		for _, note := range p.Notes {
			fmt.Fprintf(a.err, "netjail: preset %s: %s\n", name, notifier.Clean(note, 300))
		}
	}
	return nil
}

func findPreset(ctx context.Context, name string) (preset.Preset, error) {
	s, err := preset.Here()
	if err != nil {
		return preset.Preset{}, err
	}
	p, err := preset.Find(ctx, name, s)
	switch {
	case errors.Is(err, preset.ErrUnknown):
		err = hint(err, "there are %s; a file %s/NAME makes another", strings.Join(preset.Names(s), ", "), s.Presets)
	case err != nil:
		err = hint(err, "netjail preset --help")
	}
	return p, err
}

func (a *app) presetCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "preset [NAME...]",
		Short: "Show which hosts a tool is configured to use (--preset NAME allows them)",
		Long: `Show which hosts a tool is configured to use on this machine, in this directory.
netjail --preset NAME CMD allows them for one run.

apt, cargo, git, go, npm and pip are asked for their mirrors, registries,
proxies and remotes. A file of destinations, one a line, in the directory
presets of netjail's configuration is a preset of your own. What a tool finds
out only while it runs is in none of them.`,
		Example: "  netjail preset npm go\n  netjail --preset npm --no-prompt npm ci",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.listPresets(asJSON)
			}
			list := []presetJSON{}
			for _, name := range args {
				p, err := findPreset(c.Context(), name)
				if err != nil {
					return err
				}
				list = append(list, describePreset(&p))
			}
			if asJSON {
				return a.json(map[string]any{"presets": list})
			}
			w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "PRESET\tDESTINATION\tFROM")
			for _, p := range list {
				for _, e := range p.Entries {
					fmt.Fprintf(w, "%s\t%s\t%s\n", p.Name, e.Dest, notifier.Clean(e.From, 200))
				}
			}
			_ = w.Flush()
			for _, p := range list {
				for _, note := range p.Notes {
					fmt.Fprintf(a.err, "netjail: preset %s: %s\n", p.Name, notifier.Clean(note, 300))
				}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) listPresets(asJSON bool) error {
	s, err := preset.Here()
	if err != nil {
		return err
	}
	names := preset.Names(s)
	if asJSON {
		return a.json(map[string]any{"names": names})
	}
	for _, name := range names {
		fmt.Fprintln(a.out, name)
	}
	return nil
}

// presetJSON is a preset as --json prints it.
type presetJSON struct {
	Name    string        `json:"name"`
	Entries []presetEntry `json:"entries"`
	Notes   []string      `json:"notes,omitempty"`
}

type presetEntry struct {
	Dest rules.Destination `json:"destination"`
	From string            `json:"from"`
}

func describePreset(p *preset.Preset) presetJSON {
	out := presetJSON{Name: p.Name, Notes: p.Notes}
	for _, e := range p.Entries {
		out.Entries = append(out.Entries, presetEntry{e.Dest, e.From})
	}
	return out
}
