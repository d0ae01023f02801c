package programs

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// path has the system's programs and no user's shims: the tests run as
// different users.
const path = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/go/bin"

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	os.Setenv("PATH", path)
	os.Unsetenv("LC_ALL")
	os.Setenv("LANG", "C.UTF-8")
	dir, err := os.MkdirTemp("", "nj-programs-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	built.dir = dir
	return m.Run()
}

//go:embed testdata/client.c
var clientC []byte

//go:embed testdata/client.go.txt
var clientGo []byte

// built are the clients, each compiled once and used by several tests.
var built struct {
	dir string

	mu   sync.Mutex
	errs map[string]error
}

// build compiles source with a command, to which it appends "-o FILE SOURCE".
func build(t *testing.T, name, source string, code []byte, command ...string) string {
	t.Helper()
	e2etest.Need(t, command[0])
	built.mu.Lock()
	defer built.mu.Unlock()
	file := filepath.Join(built.dir, name)
	err, done := built.errs[name]
	if !done {
		err = compile(file, filepath.Join(built.dir, source), code, command)
		if built.errs == nil {
			built.errs = make(map[string]error)
		}
		built.errs[name] = err
	}
	if err != nil {
		t.Fatalf("build %s: %v", name, err)
	}
	return file
}

func compile(file, source string, code []byte, command []string) error {
	if err := os.WriteFile(source, code, 0o600); err != nil {
		return err
	}
	cmd := exec.Command(command[0], append(command[1:], "-o", file, source)...)
	cmd.Dir = built.dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GO111MODULE=off", "GOFLAGS=", "GOTOOLCHAIN=local")
	if out, err := cmd.CombinedOutput(); err != nil {
		return errors.Join(err, errors.New(string(out)))
	}
	return nil
}

func glibcClient(t *testing.T) string {
	return build(t, "client", "client.c", clientC, "gcc", "-O1", "-Wall", "-Werror", "-pthread")
}

func muslClient(t *testing.T) string {
	return build(t, "client-musl", "client.c", clientC, "musl-gcc", "-static", "-O1", "-pthread")
}

func goClient(t *testing.T) string {
	return build(t, "client-go", "client.go", clientGo, "go", "build")
}
