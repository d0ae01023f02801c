// Package house checks the rules of the repository itself: what imports what,
// that every package says what it is, and that nothing outgrows its place.
package house

import (
	"bufio"
	"bytes"
	"encoding/json"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

const module = "github.com/netjail/netjail/"

// bans say which room may not import what, and why. The first that names the
// room's path as a prefix holds, so exceptions come before rules.
var bans = []struct {
	room   string
	allows []string // prefixes; the standard library is always allowed
	why    string
}{
	{"rules/rulefile", []string{module + "rules", "github.com/pelletier/go-toml/v2", "golang.org/x/sys/unix"}, "rule files are the only TOML"},
	{"rules/blocklist", []string{"golang.org/x/net/idna", "golang.org/x/sys/unix"}, "blocklists map a file and know no rules"},
	{"rules/opensnitch", []string{module + "rules"}, "what converts strangers' rules reads bytes and knows no file"},
	{"rules/lsrules", []string{module + "rules"}, "what converts strangers' rules reads bytes and knows no file"},
	{"rules/proposal", []string{module + "rules"}, "what a run was seen to do becomes rules without looking again"},
	{"rules", []string{"golang.org/x/net/idna"}, "rules are pure; names have two spellings"},
	{"interpose", []string{module + "interpose", "golang.org/x/sys/unix"}, "interposition knows no policy and must stay small enough to read"},
	{"notifier/desktop", []string{module + "notifier", module + "rules", "github.com/godbus/dbus/v5", "golang.org/x/sys/unix"}, "desktop is the only D-Bus"},
	{"notifier/terminal", []string{module + "notifier", module + "rules", "golang.org/x/sys/unix"}, "a prompt shows what it is given"},
	{"notifier", []string{module + "rules", "golang.org/x/net/idna"}, "asking knows nothing of jails; people read names in letters, programs in punycode"},
	{"daemon/names", []string{module + "daemon/names", "github.com/miekg/dns", "golang.org/x/net/publicsuffix", "golang.org/x/sys/unix"}, "the resolver is the only DNS: who parses messages of strangers is read, and fuzzed, in one place"},
	{"daemon/flows", []string{"golang.org/x/sys/unix"}, "what the kernel says of sockets is read, and fuzzed, without knowing whose jail they are in"},
	{"daemon/guard/nft", []string{"github.com/google/nftables", "github.com/mdlayher/netlink", "golang.org/x/sys/unix"}, "the table is the only nftables, and knows neither cgroups nor whose jail it is"},
	{"daemon/guard/cgroup", []string{"golang.org/x/sys/unix"}, "where a process may be put is decided, and tested, without network"},
	{"daemon/history", []string{module + "daemon/api", module + "rules", "modernc.org/sqlite"}, "the history is the only database, and decides nothing"},
	{"daemon", []string{module + "daemon", module + "interpose", module + "notifier", module + "rules", "golang.org/x/sys/unix"}, "the daemon joins the rooms and has no libraries of its own"},
	{"cmd/netjail/tui", []string{module + "daemon/api", module + "notifier", module + "rules", "github.com/gdamore/tcell/v2", "golang.org/x/sys/unix"}, "the screen is the only terminal library, and sees of netjail what any client sees"},
	{"cmd/netjail/manual", []string{module + "cmd/netjail/preset", module + "daemon/jail", "github.com/spf13/cobra", "github.com/spf13/pflag"}, "the manual is made from the command table, by a test"},
	{"cmd", []string{module + "cmd", module + "daemon", module + "interpose", module + "rules", module + "notifier", "github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/sys/unix"}, "the command line is the top"},
	{"contrib", []string{module + "contrib", module + "daemon/api", module + "notifier", module + "rules", "github.com/godbus/dbus/v5", "golang.org/x/sys/unix"}, "what is tested from outside is used from outside"},
}

type pkg struct {
	ImportPath, Dir, Doc string
	Imports              []string
	GoFiles, TestGoFiles []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	if len(list) < 10 {
		t.Fatalf("only %d packages found", len(list))
	}
	return list
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		room := strings.TrimPrefix(p.ImportPath, module)
		for _, b := range bans {
			if room != b.room && !strings.HasPrefix(room, b.room+"/") {
				continue
			}
			for _, imp := range p.Imports {
				if strings.Contains(strings.Split(imp, "/")[0], ".") && !allowed(imp, b.allows) {
					t.Errorf("%s imports %s: %s", room, imp, b.why)
				}
			}
			break
		}
	}
}

func allowed(imp string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return imp == p || strings.HasPrefix(imp, p+"/") })
}

func TestNothingImportsCmd(t *testing.T) {
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, module+"cmd/") && !strings.HasPrefix(p.ImportPath, module+"cmd/") {
				t.Errorf("%s imports %s", p.ImportPath, imp)
			}
		}
	}
}

// TestUnsafe keeps unsafe code where an auditor looks for it.
func TestUnsafe(t *testing.T) {
	for _, p := range packages(t) {
		if slices.Contains(p.Imports, "unsafe") && p.ImportPath != module+"interpose/internal/sys" {
			t.Errorf("%s imports unsafe", p.ImportPath)
		}
	}
}

func TestPackagesSayWhatTheyAre(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" && !documented(t, p) {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
		base := filepath.Base(p.ImportPath)
		if slices.Contains([]string{"util", "utils", "common", "helpers", "core", "types", "misc"}, base) {
			t.Errorf("%s: that is no noun", p.ImportPath)
		}
	}
}

// documented looks for the comment of a package of tests alone.
func documented(t *testing.T, p pkg) bool {
	for _, name := range p.TestGoFiles {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if f.Doc != nil {
			return true
		}
	}
	return false
}

func TestFiles(t *testing.T) {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if want, err := format.Source(src); err != nil || !bytes.Equal(src, want) {
			t.Errorf("%s: gofmt -w", path)
		}
		if n := bytes.Count(src, []byte("\n")); n > 800 {
			t.Errorf("%s has %d lines", path, n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTopLevel(t *testing.T) {
	want := []string{"LICENSE", "README.md", "cmd", "contrib", "daemon", "go.mod", "go.sum", "interpose", "notifier", "rules"}
	cmd := exec.Command("git", "ls-files")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for line := bufio.NewScanner(bytes.NewReader(out)); line.Scan(); {
		top, _, _ := strings.Cut(line.Text(), "/")
		if !strings.HasPrefix(top, ".") && !slices.Contains(want, top) {
			t.Errorf("%s is not among %v", top, want)
		}
	}
}

// TestInterposeStaysSmall prints what has to be right for the jail to hold. What
// is in files named compat*.go runs only with --32bit.
func TestInterposeStaysSmall(t *testing.T) {
	lines, compat := 0, 0
	for _, p := range packages(t) {
		if !strings.HasPrefix(p.ImportPath, module+"interpose") {
			continue
		}
		for _, name := range p.GoFiles {
			src, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			for line := range bytes.Lines(src) {
				if line = bytes.TrimSpace(line); len(line) > 0 && !bytes.HasPrefix(line, []byte("//")) {
					if strings.HasPrefix(name, "compat") {
						compat++
					} else {
						lines++
					}
				}
			}
		}
	}
	t.Logf("interpose: %d lines of code without tests and comments, and %d more for --32bit", lines, compat)
	if lines == 0 || lines > 3500 {
		t.Errorf("interpose has %d lines of code, the aim is below 3500", lines)
	}
}
