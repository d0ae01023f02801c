// Package manual writes netjail's man pages: the texts in pages/, which people
// wrote, with the reference of commands and flags from the command table.
//
//	pages, err := manual.Pages(root)
//	os.WriteFile(filepath.Join(dir, "netjail.1"), pages["netjail.1"], 0o644)
//
// The texts are in man(7)'s own language. The pages are checked in, below
// contrib/man; a test of package cli says when they and the commands differ.
// Nothing that netjail is built from imports this package.
package manual

import (
	"bytes"
	"embed"
	"fmt"
	"path"
	"text/template"

	"github.com/spf13/cobra"

	"github.com/netjail/netjail/cmd/netjail/preset"
	"github.com/netjail/netjail/daemon/jail"
)

//go:embed pages/*.tmpl
var texts embed.FS

// header begins a page: with tables in it, and without hyphens that are in no
// name.
const header = `'\" t
.\" Written by cmd/netjail/manual from its pages/%s and the commands.
.\" Change those, then: go generate ./cmd/netjail/cli
.nr HY 0
`

// Pages returns the pages by their file names.
func Pages(root *cobra.Command) (map[string][]byte, error) {
	all, err := template.New("").Funcs(template.FuncMap{
		"flags":    func() string { return flags(root) },
		"commands": func() string { return commands(root) },
		"presets":  func() []string { return preset.Names(preset.System{}) },
		"code":     func() map[string]int { return codes },
		"last":     func(i int, list []string) bool { return i == len(list)-1 },
	}).ParseFS(texts, "pages/*.tmpl")
	if err != nil {
		return nil, fmt.Errorf("man pages: %w", err)
	}
	pages := make(map[string][]byte)
	for _, t := range all.Templates() {
		if t.Name() == "" {
			continue
		}
		var b bytes.Buffer
		fmt.Fprintf(&b, header, t.Name())
		if err := t.Execute(&b, nil); err != nil {
			return nil, fmt.Errorf("man pages: %w", err)
		}
		pages[t.Name()[:len(t.Name())-len(path.Ext(t.Name()))]] = b.Bytes()
	}
	return pages, nil
}

// codes are the exit codes of a run.
var codes = map[string]int{
	"timeout": jail.ExitTimeout, "failure": jail.ExitFailure, "exec": jail.ExitCannotExec, "missing": jail.ExitNotFound,
}
