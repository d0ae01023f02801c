package house

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/escape"
)

// TestThreatModel: the README's threat model names every way out that is out of
// reach, and none that is not.
func TestThreatModel(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, model, ok := strings.Cut(string(readme), "\n## Security\n")
	if !ok {
		t.Fatal("the README has no section Security")
	}
	model, _, _ = strings.Cut(model, "\n## ")
	var named []string
	for _, list := range regexp.MustCompile(`\([A-E]\d+(/\w+)?(, [A-E]\d+(/\w+)?)*\)`).FindAllString(model, -1) {
		named = append(named, strings.Split(strings.Trim(list, "()"), ", ")...)
	}
	var open []string
	for _, o := range escape.OutOfReach() {
		open = append(open, o.Row)
		if !slices.Contains(named, o.Row) {
			t.Errorf("the threat model does not name %s: %s", o.Row, o.How)
		}
	}
	if len(open) == 0 {
		t.Error("nothing is out of reach, which cannot be")
	}
	for _, row := range named {
		if !slices.Contains(open, row) {
			t.Errorf("the threat model names %s, which is not out of reach", row)
		}
	}
}
