package cli

import (
	"bytes"
	"strings"
	"testing"
	"text/tabwriter"
)

// TestTable: a table is printed as text/tabwriter prints it.
func TestTable(t *testing.T) {
	for name, lines := range map[string][]string{
		"head":  {"A\tB"},
		"one":   {"A", "b", ""},
		"runes": {"A\tB\tC", "größer\t\t", "\té\tx", "日本\tlong enough\t\xff"},
	} {
		var got, want bytes.Buffer
		w := tabwriter.NewWriter(&want, 0, 0, 2, ' ', 0)
		table := newTable(1, strings.Split(lines[0], "\t")...)
		for i, line := range lines {
			_, _ = w.Write([]byte(line + "\n"))
			for _, s := range strings.Split(line, "\t") {
				if i > 0 {
					table.cell(s)
				}
			}
		}
		_ = w.Flush()
		if err := table.print(&got); err != nil || got.String() != want.String() {
			t.Errorf("%s: got %q, %v, want %q", name, &got, err, &want)
		}
	}
}
