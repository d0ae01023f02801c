package rulefile

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/netjail/netjail/rules"
)

// appKey is the key of an export that says which app a rule is of.
const appKey = "app"

const exportHeader = `# Rules of netjail: netjail rules import reads this file back.
# Each says which app it is of; "` + allName + `" is every app.
`

// maxExport bounds a file of many apps' rules.
const maxExport = 64 << 20

// Export returns one file with rules of any apps, which ParseExport reads back
// to the same. Rules of one run are left out.
func Export(list []rules.Rule) ([]byte, error) {
	var b strings.Builder
	b.WriteString(exportHeader)
	for i := range list {
		if list[i].Jail != "" || list[i].Run {
			continue
		}
		r, err := (&File{app: list[i].App}).storable(list[i])
		if err != nil {
			return nil, fmt.Errorf("export rules: %w", err)
		}
		app := r.App
		if app == "" {
			app = allName
		} else if err := rules.CheckAppName(app); err != nil {
			return nil, fmt.Errorf("export rules: %w", err)
		}
		b.WriteString("\n[[rule]]\n" + appKey + " = " + quoted(app) + "\n")
		for _, line := range lines(&r) {
			b.WriteString(line + "\n")
		}
	}
	return []byte(b.String()), nil
}

// ParseExport reads a file of many apps' rules. The error is an *Error.
func ParseExport(name string, data []byte) ([]rules.Rule, error) {
	data = slices.Clip(slices.Clone(data))
	if err := checkText(name, data, maxExport); err != nil {
		return nil, err
	}
	p := newParser(name, "", data)
	p.mixed = true
	if err := p.parse(); err != nil {
		return nil, err
	}
	return p.rules, nil
}

// setApp gives the app of an export's rule.
func setApp(r *rules.Rule, _ string, v *unstable.Node) (err error) {
	if r.App, err = stringOf(v); err != nil {
		return err
	}
	if r.App == "" {
		return errors.New("no app: " + allName + " is every app")
	}
	if r.App == allName {
		r.App = ""
		return nil
	}
	return rules.CheckAppName(r.App)
}
