package jail

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestShorten(t *testing.T) {
	cases := []struct{ in, want string }{
		{"", ""},
		{"a", "a"},
		{"a b c d e f", "a b c d e f"},
		{"a b c d e f g", "a … d e f g"},
		{"a b c d e f g h i j", "a … g h i j"},
	}
	for _, c := range cases {
		if got := strings.Join(shorten(strings.Fields(c.in)), " "); got != c.want {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
	}
}

// TestChain follows a shell in a shell up to this process.
func TestChain(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	if sh, err = filepath.EvalSymlinks(sh); err != nil {
		t.Fatal(err)
	}
	sh = filepath.Base(sh)
	cmd := exec.Command("sh", "-c", `sh -c 'echo $$; read x; :'; :`)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil {
		t.Fatal(err)
	}
	if got, want := chain(pid, os.Getpid()), []string{sh, sh}; !slices.Equal(got, want) {
		t.Errorf("below this process: got %q, want %q", got, want)
	}
	if got, want := chain(pid, cmd.Process.Pid), []string{sh}; !slices.Equal(got, want) {
		t.Errorf("below the first shell: got %q, want %q", got, want)
	}
	if got := chain(0, 1); len(got) != 0 {
		t.Errorf("of a process that is gone: got %q, want nothing", got)
	}
	if got, want := parentOf(os.Getpid()), os.Getppid(); got != want {
		t.Errorf("parent: got %d, want %s", got, strconv.Itoa(want))
	}
}
