package programs

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// TestInherited compares what a program finds with what it finds without
// netjail, behind a shell that has changed it all. Of the ignored signals only
// SIGHUP, SIGINT and those of job control stay so: Go's runtime takes the others
// over before netjail can look.
func TestInherited(t *testing.T) {
	const change = `umask 027; cd /usr; ulimit -S -n 777; ulimit -c 0; ulimit -S -s 4096; trap '' HUP INT TSTP; exec nice -n 5 "$@"`
	tests := []struct{ name, script, normal string }{
		{"working directory", "pwd -P", "/usr"},
		{"umask", "umask", "0027"},
		{"descriptor limit", "ulimit -S -n", "777"},
		{"limits", "cat /proc/self/limits", ""},
		{"nice", "nice", "5"},
		{"signals", "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status", ""},
		{"credentials", "grep -E '^(Uid|Gid|Groups|Cap...):' /proc/self/status", ""},
		{"affinity", "grep -E '^(Cpus|Mems)_allowed' /proc/self/status", ""},
		{"oom score", "cat /proc/self/oom_score_adj", ""},
		{"timer slack", "cat /proc/self/timerslack_ns", ""},
		{"scheduling", "cut -d' ' -f18,19,40,41 /proc/self/stat", ""},
		{"cgroup", "cat /proc/self/cgroup", ""},
		{"namespaces", "readlink /proc/self/ns/*", ""},
		{"environment", `env | grep -vE '^(NETJAIL|NETJAIL_APP|_)=' | sort`, ""},
		{"arguments", `printf '%s|' "$0" "$@"`, "sh|a b||--allow|"},
	}
	h := e2etest.NewHome(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			program := []string{"sh", "-c", tt.script, "sh", "a b", "", "--allow"}
			sh := []string{"sh", "-c", change, "sh"}
			want := h.Finish(native(h, append(sh, program...)...))
			got := h.Finish(native(h, append(append(sh, e2etest.Bin(t), "--no-prompt"), program...)...))
			if want.Code != 0 || want.Stdout == "" || tt.normal != "" && strings.TrimSpace(want.Stdout) != tt.normal {
				t.Fatalf("without netjail: %+v, want %q", want, tt.normal)
			}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// TestJobControl finds the program in the process group and session of the
// process that the shell has started.
func TestJobControl(t *testing.T) {
	h := e2etest.NewHome(t)
	const script = `cut -d' ' -f5-8 /proc/self/stat`
	cmd := h.Command("--no-prompt", "sh", "-c", script)
	r := h.Finish(cmd)
	leader := strconv.Itoa(cmd.Process.Pid)
	if want := leader + " " + leader + " 0 -1\n"; r.Stdout != want {
		t.Errorf("as a leader: group, session, terminal, foreground %q, want %q", r.Stdout, want)
	}
	in := func(args ...string) string {
		cmd := native(h, args...)
		cmd.SysProcAttr.Setsid = false
		return h.Finish(cmd).Stdout
	}
	want := in("sh", "-c", script)
	if got := in(e2etest.Bin(t), "--no-prompt", "sh", "-c", script); got != want || want == "" {
		t.Errorf("among others: group, session, terminal, foreground %q, want %q", got, want)
	}
}

func TestEnvironment(t *testing.T) {
	h := e2etest.NewHome(t)
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"the program's name", []string{"/bin/sh"}, "1 sh"},
		{"--as", []string{"--as", "other", "sh"}, "1 other"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"--no-prompt"}, tt.args...)
			r := h.Run(append(args, "-c", `echo "$NETJAIL $NETJAIL_APP"; env | grep -cE "^NETJAIL(_APP)?="`)...)
			if want := tt.want + "\n2\n"; r.Stdout != want {
				t.Errorf("got %q, want %q", r.Stdout, want)
			}
		})
	}
}

// TestDescriptors leaves descriptors open for the program.
func TestDescriptors(t *testing.T) {
	const list = "ls /proc/$$/fd; cat <&5"
	tests := []struct {
		name  string
		flags []string
		want  []string
	}{
		{"none", nil, []string{"0", "1", "2"}},
		{"--keep-fd 5", []string{"--keep-fd", "5"}, []string{"0", "1", "2", "5", "content"}},
		{"two", []string{"--keep-fd", "5", "--keep-fd", "3"}, []string{"0", "1", "2", "3", "5", "content"}},
		{"a list", []string{"--keep-fd", "4,5"}, []string{"0", "1", "2", "4", "5", "content"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := e2etest.NewHome(t)
			cmd := h.Command(append(append([]string{"--no-prompt"}, tt.flags...), "sh", "-c", list)...)
			cmd.ExtraFiles = openFiles(t, 3)
			r := h.Finish(cmd)
			// dash keeps the script's own descriptors from 10 on.
			got := slices.DeleteFunc(strings.Fields(r.Stdout), func(s string) bool {
				n, err := strconv.Atoi(s)
				return err == nil && n >= 10
			})
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q; stderr %q", got, tt.want, r.Stderr)
			}
		})
	}
}

// openFiles opens n files with content in them.
func openFiles(t *testing.T, n int) []*os.File {
	t.Helper()
	var list []*os.File
	for range n {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		if _, err := f.WriteString("content\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Seek(0, 0); err != nil {
			t.Fatal(err)
		}
		list = append(list, f)
	}
	return list
}

// TestClosedStandard runs a program whose standard descriptors are closed.
func TestClosedStandard(t *testing.T) {
	h := e2etest.NewHome(t)
	for _, redirect := range []string{"<&-", ">&-", "2>&-", "<&- >&- 2>&-"} {
		t.Run(redirect, func(t *testing.T) {
			cmd := native(h, "sh", "-c", `"$@" `+redirect+"; echo $?", "sh", e2etest.Bin(t), "--no-prompt", "sh", "-c", "exit 7")
			if r := h.Finish(cmd); r.Stdout != "7\n" {
				t.Errorf("got %+v, want 7", r)
			}
		})
	}
}

// shell runs a script in which $NETJAIL_BIN is netjail.
func shell(t *testing.T, h *e2etest.Home, script string) *exec.Cmd {
	t.Helper()
	cmd := native(h, "sh", "-c", script)
	cmd.Env = append(slices.Clone(h.Env), "NETJAIL_BIN="+e2etest.Bin(t))
	return cmd
}
