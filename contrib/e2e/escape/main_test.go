package escape

import (
	"cmp"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

//go:embed testdata/*.c testdata/*.h
var sources embed.FS

var built struct {
	once sync.Once
	dir  string
	err  error
}

// helper compiles the program that tries to escape, once, unless
// $NETJAIL_TEST_PREBUILT is a folder that has it.
func helper(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("NETJAIL_TEST_PREBUILT"); dir != "" {
		return filepath.Join(dir, "escape")
	}
	built.once.Do(func() { built.err = compile(e2etest.Need(t, "gcc")) })
	if built.err != nil {
		t.Fatalf("build the helper: %v", built.err)
	}
	return filepath.Join(built.dir, "escape")
}

func compile(gcc string) error {
	if err := os.CopyFS(built.dir, sources); err != nil {
		return err
	}
	args := []string{"-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unused-result", "-pthread", "-o", filepath.Join(built.dir, "escape")}
	if runtime.GOARCH == "amd64" {
		args = append(args, "-mno-red-zone") // int80 pushes
	}
	files, err := filepath.Glob(filepath.Join(built.dir, "testdata", "*.c"))
	if err != nil {
		return err
	}
	if out, err := exec.Command(gcc, append(args, files...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "nj-escape-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	built.dir = dir
	code := m.Run()
	if testing.Verbose() {
		report()
	}
	return code
}

// verdict is a line of the table.
type verdict struct {
	row, tried, state string
	bare, in, out     string
}

var verdicts []verdict

// report prints what became of each row, and what was not tried.
func report() {
	tested := make(map[string]bool)
	for _, v := range verdicts {
		tested[v.row] = true
	}
	if len(tested) == 0 {
		return
	}
	for _, o := range OutOfReach() {
		if !tested[o.Row] {
			verdicts = append(verdicts, verdict{o.Row, o.How, "out of reach: " + o.Why, "-", "-", "-"})
		}
	}
	slices.SortStableFunc(verdicts, func(a, b verdict) int { return cmp.Compare(place(a.row), place(b.row)) })
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	fmt.Fprintf(w, "row\t| what was tried\t| denied saw\t| allowed saw\t| denied saw, unjailed\t| result\n")
	for _, v := range verdicts {
		fmt.Fprintf(w, "%s\t| %s\t| %s\t| %s\t| %s\t| %s\n", v.row, v.tried, v.in, v.out, v.bare, v.state)
	}
	fmt.Fprintf(w, "\nas uid %d on Linux %s\n", os.Getuid(), release())
	w.Flush()
}

// place orders rows by section and number; what has none comes last.
func place(row string) int {
	id, _, _ := strings.Cut(row, "/")
	n, err := strconv.Atoi(id[1:])
	if err != nil {
		return 1 << 20
	}
	return int(id[0])<<8 + n
}

func release() string {
	b, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(b))
}
