package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
	"github.com/netjail/netjail/rules/lsrules"
	"github.com/netjail/netjail/rules/opensnitch"
	"github.com/netjail/netjail/rules/rulefile"
)

// What can be imported.
const (
	fromNetjail    = "netjail"
	fromOpenSnitch = "opensnitch"
	fromHosts      = "hosts"
	fromLsrules    = "lsrules"
)

// maxImport bounds one file that is imported.
const maxImport = 64 << 20

func (a *app) rulesImport() *cobra.Command {
	var from string
	var dry, asJSON bool
	c := &cobra.Command{
		Use:   "import PATH",
		Short: "Take an export, or the rules or names of other programs",
		Long: `Take an export, or the rules or denied names of other programs.

  netjail     a file that netjail rules export wrote
  opensnitch  a directory of OpenSnitch's rules (/etc/opensnitchd/rules), or one
  hosts       a hosts file or a list of names: for the blocklist
  lsrules     a Little Snitch rule group: the names it denies, for the blocklist

Each rule is taken as it is or refused with a reason; none lets more through
than it did. A rule of yours for the same destination stays. --dry-run shows
what would become of all this; exits 1 if something was refused. netjail rules
undo takes an import back, netjail blocklist remove a list.`,
		Example: "  netjail rules import --dry-run ~/opensnitch-rules",
		Args:    hinting(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			path, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			rep := &report{From: from, Dry: dry}
			if rep.From == "" {
				if rep.From, err = kindOf(path); err != nil {
					return err
				}
			}
			if err := a.importFrom(c, rep, path); err != nil {
				return err
			}
			if rep.refused() > 0 {
				a.code = exitNo
			}
			if asJSON {
				return a.json(rep)
			}
			a.showReport(rep)
			return nil
		},
	}
	c.Flags().StringVar(&from, "from", "", "netjail, opensnitch, hosts or lsrules; else by its name")
	c.Flags().BoolVar(&dry, "dry-run", false, "change nothing, show what would be")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// kindOf tells by a path's name what it is.
func kindOf(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("import: %w", err)
	}
	switch ext := filepath.Ext(path); {
	case info.IsDir(), ext == ".json":
		return fromOpenSnitch, nil
	case ext == ".toml":
		return fromNetjail, nil
	case ext == ".lsrules":
		return fromLsrules, nil
	}
	return fromHosts, nil
}

func (a *app) importFrom(c *cobra.Command, rep *report, path string) error {
	switch rep.From {
	case fromNetjail:
		data, err := readImport(path)
		if err != nil {
			return err
		}
		list, err := rulefile.ParseExport(path, data)
		if err != nil {
			return hint(err, "a file that netjail rules export wrote; a rule file of one app is put into the directory of netjail status")
		}
		return a.importRules(c, rep, list)
	case fromOpenSnitch:
		return a.importOpenSnitch(c, rep, path)
	case fromHosts:
		return a.importNames(c, rep, path)
	case fromLsrules:
		return a.importGroup(c, rep, path)
	}
	return hint(fmt.Errorf("--from: %q is nothing known", rep.From), "--from netjail, opensnitch, hosts or lsrules")
}

func readImport(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", path)
	}
	if err == nil && info.Size() > maxImport {
		err = fmt.Errorf("%s: larger than %d MiB", path, maxImport>>20)
	}
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		err = fmt.Errorf("import: %w", err)
	}
	return data, err
}

// importRules has the daemon take rules.
func (a *app) importRules(c *cobra.Command, rep *report, list []rules.Rule) error {
	rep.Imported = new(api.RuleImported)
	return a.ask(c, api.OpRulesImport, api.RuleImport{Rules: api.FromRules(list), Dry: rep.Dry}, rep.Imported)
}

func (a *app) importOpenSnitch(c *cobra.Command, rep *report, path string) error {
	files, err := openSnitchFiles(path)
	if errors.Is(err, fs.ErrPermission) {
		return hint(err, "copy them first: sudo cp -r %s ~/opensnitch-rules && sudo chown -R $USER ~/opensnitch-rules", path)
	}
	if err != nil {
		return err
	}
	rep.Sources = opensnitch.Convert(files, opensnitch.Config{UID: os.Getuid(), Now: time.Now()})
	var list []rules.Rule
	for _, r := range rep.Sources {
		list = append(list, r.Rules...)
	}
	return a.importRules(c, rep, list)
}

// openSnitchFiles reads one rule, or all of a directory.
func openSnitchFiles(path string) ([]opensnitch.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	paths := []string{path}
	if info.IsDir() {
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, fmt.Errorf("import: %w", err)
		}
		paths = nil
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".json") {
				paths = append(paths, filepath.Join(path, e.Name()))
			}
		}
		if len(paths) == 0 {
			return nil, hint(fmt.Errorf("import: %s holds no rules of OpenSnitch's", path), "they are files named *.json")
		}
	}
	var files []opensnitch.File
	for _, p := range paths {
		data, err := readImport(p)
		if err != nil {
			return nil, err
		}
		files = append(files, opensnitch.File{Name: filepath.Base(p), Data: data})
	}
	return files, nil
}

// importNames has the daemon block the names of a file.
func (a *app) importNames(c *cobra.Command, rep *report, path string) error {
	rep.Blocklist = path
	if rep.Dry {
		rep.Notes = append(rep.Notes, "its lines are read when it is added")
		return nil
	}
	rep.Lists = new(api.Blocklists)
	if err := a.ask(c, api.OpBlocklistAdd, api.BlocklistFiles{Files: []string{path}}, rep.Lists); err != nil {
		return err
	}
	for _, l := range rep.Lists.Files {
		if l.File == path {
			rep.Names = l.Names
		}
	}
	return nil
}

// importGroup writes the names of a rule group to a list of netjail's own.
func (a *app) importGroup(c *cobra.Command, rep *report, path string) error {
	data, err := readImport(path)
	if err != nil {
		return err
	}
	group, err := lsrules.Read(data)
	if err != nil {
		return fmt.Errorf("import %s: %w", path, err)
	}
	rep.Refused, rep.Names = group.Refused, len(group.Names)
	if group.Hosts > 0 {
		rep.Notes = append(rep.Notes, fmt.Sprintf("%d names were denied without what is below them; a blocklist blocks that, too", group.Hosts))
	}
	if len(group.Names) == 0 {
		return nil
	}
	dir, err := api.StateDir()
	if err != nil {
		return err
	}
	list := filepath.Join(dir, "imported", strings.TrimSuffix(filepath.Base(path), ".lsrules")+".txt")
	if rep.Dry {
		rep.Blocklist = list
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(list), 0o700); err != nil {
		return fmt.Errorf("import: %w", err)
	}
	text := "# The names that " + notifier.Clean(filepath.Base(path), 200) + " denies.\n" + strings.Join(group.Names, "\n") + "\n"
	if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
		return fmt.Errorf("import: %w", err)
	}
	return a.importNames(c, rep, list)
}
