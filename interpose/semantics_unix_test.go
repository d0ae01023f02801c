package interpose

import (
	"bytes"
	"cmp"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

//go:embed testdata/semantics
var semanticsSources embed.FS

// deviations are what a program can tell a jail by, case by case: what it
// finds there in place of what it would find without. Nothing else may differ,
// and these must be exactly so.
func deviations(mode string) map[string]string {
	m := make(map[string]string)

	// Whoever performs a call is whom the peer sees: the supervisor, which
	// has the user of the program. It lends nobody its credentials.
	sender := fmt.Sprintf("process id another's, user %d:%d", os.Getuid(), os.Getgid())
	emulated := []string{"datagram"}
	if mode == "threads" {
		emulated = []string{"datagram", "stream", "seqpacket"}
	}
	for _, kind := range emulated {
		m["SO_PASSCRED, "+kind+": sendmsg, received"] = sender
		m["SCM_CREDENTIALS, "+kind] = "EPERM"
		m["SCM_CREDENTIALS, "+kind+": received"] = "EAGAIN, no credentials"
	}
	m["SO_PASSCRED, sendto"] = sender
	m["SO_PEERCRED, of a listener"] = sender
	m["SO_PEERCRED, of a client"] = sender

	// /proc/self is the supervisor's there, and magic links are not followed.
	m["through /proc/self: connect"] = "EXDEV"
	m["through /proc/self: state"] = nothing
	m["through /proc/self: sendto"] = "EXDEV"

	// Below another root a path is bound by its last element, see bindDir.
	name := func(own, peer string) string { return "SO_ERROR 0, name " + own + ", peer " + peer + ", flags 0x2" }
	m["another root: bind: state"] = name(`7 bytes sock\00`, "ENOTCONN")
	m["another root, through a symlink: bind: state"] = name(`4 bytes x\00`, "ENOTCONN")
	for _, how := range []string{": connect", ", absolute symlink", ", above it", ", relative and above it",
		", relative and through an absolute symlink", ", by its relative name"} {
		m["another root"+how+": state"] = name("2 bytes ", `7 bytes sock\00`)
	}

	// What root gives up by setresuid(2) its supervisor still has: a jail of
	// root's programs is no boundary, says the README.
	if os.Getuid() == 0 {
		m["without root's rights: file"] = "mode 140755, owner 0:0"
		m["without root's rights, directory of root's: bind"] = "0"
		m["without root's rights, directory of root's: bind: state"] = name(`8 bytes dir/x\00`, "ENOTCONN")
		m["without root's rights, socket of root's: connect"] = "0"
		m["without root's rights, socket of root's: state"] = name("2 bytes ", `9 bytes secret\00`)
		m["without root's rights, socket of root's: sendto"] = "EPROTOTYPE"
		m["without root's rights, below a directory of root's: connect"] = "0"
		m["without root's rights, below a directory of root's: state"] = name("2 bytes ", `12 bytes private/s\00`)
		m["without root's rights, below a directory of root's: sendto"] = "EPROTOTYPE"
	}
	return m
}

// nothing is the outcome of a case that was not come to.
const nothing = "(nothing)"

// TestDifferential runs a script of local names, control messages, signals,
// timeouts and the like bare and in a jail that allows everything; once as a
// process with one thread, for which the kernel performs some of the calls, and
// once with two, for which the supervisor performs them all.
func TestDifferential(t *testing.T) {
	program := buildSemantics(t)
	for _, mode := range []string{"single", "threads"} {
		t.Run(mode, func(t *testing.T) {
			one, other := scriptDir(t), scriptDir(t)
			var bare bytes.Buffer
			cmd := exec.Command(program, mode, one)
			cmd.Stdout = &bare
			if err := cmd.Start(); err != nil { // both at once: they wait most of the time
				t.Fatal(err)
			}
			jailed, ws := run(t, allowAll, program, mode, other)
			if err := cmd.Wait(); err != nil {
				t.Errorf("bare: %v", err)
			}
			if !ws.Exited() || ws.ExitStatus() != 0 {
				t.Errorf("jailed: wait status %#x", int(ws))
			}
			compare(t, parseCases(t, bare.String(), one), parseCases(t, jailed, other), deviations(mode))
		})
	}
}

// buildSemantics compiles the script, unless $NETJAIL_TEST_PREBUILT is a folder
// that has it.
func buildSemantics(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("NETJAIL_TEST_PREBUILT"); dir != "" {
		return filepath.Join(dir, "semantics")
	}
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		if os.Getenv("NETJAIL_TEST_REQUIRE") == "1" {
			t.Fatal("gcc is needed and not there: contrib/test installs it")
		}
		t.Skip("gcc is not there: contrib/test installs it")
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, semanticsSources); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "testdata", "semantics", "*.c"))
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "semantics")
	args := []string{"-static", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unused-result", "-pthread", "-o", program}
	if out, err := exec.Command(gcc, append(args, files...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// scriptDir returns an empty directory. Its path is short, and as long each
// time: a name of 108 bytes has to fit, and is printed.
func scriptDir(t *testing.T) string {
	t.Helper()
	for i := os.Getpid(); ; i++ {
		dir := fmt.Sprintf("/tmp/nj-%09d", i%1e9)
		err := os.Mkdir(dir, 0o711)
		if os.IsExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			os.Chmod(filepath.Join(dir, "closed"), 0o700)
			os.RemoveAll(dir)
		})
		return dir
	}
}

// outcome is one line of the script.
type outcome struct{ name, result string }

// parseCases splits what the script printed in dir. Every case has a name of its
// own.
func parseCases(t *testing.T, out, dir string) []outcome {
	t.Helper()
	var list []outcome
	seen := make(map[string]bool)
	for l := range strings.Lines(strings.ReplaceAll(out, dir, "DIR")) {
		name, result, ok := strings.Cut(strings.TrimSuffix(l, "\n"), "\t")
		if !ok || seen[name] {
			t.Errorf("line %q: no case, or the second of its name", l)
		}
		seen[name] = true
		list = append(list, outcome{name, result})
	}
	return list
}

// compare prints every case with both outcomes.
func compare(t *testing.T, bare, jailed []outcome, expected map[string]string) {
	t.Helper()
	if end := (outcome{"end", "reached"}); len(bare) == 0 || bare[len(bare)-1] != end {
		t.Errorf("bare: the script did not come to its end")
	}
	without, within := outcomes(bare), outcomes(jailed)
	names := make([]string, 0, len(bare))
	for _, o := range slices.Concat(bare, jailed) {
		if !slices.Contains(names, o.name) {
			names = append(names, o.name)
		}
	}
	deviating := 0
	for _, name := range names {
		b, j := cmp.Or(without[name], nothing), cmp.Or(within[name], nothing)
		t.Logf("%s: bare %q, jailed %q", name, b, j)
		want, deviates := expected[name]
		switch {
		case !deviates:
			want = b
		case want == b:
			t.Errorf("%s: bare it is %q too: no deviation", name, b)
		default:
			deviating++
		}
		if j != want {
			t.Errorf("%s: bare %q, jailed %q, want %q", name, b, j, want)
		}
	}
	if deviating != len(expected) {
		t.Errorf("%d deviations, %d are documented", deviating, len(expected))
	}
	t.Logf("%d cases compared, %d of them deviate as documented", len(names), deviating)
}

func outcomes(list []outcome) map[string]string {
	m := make(map[string]string)
	for _, o := range list {
		m[o.name] = o.result
	}
	return m
}
