package desk

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// TestBackground asks about a program of the distribution, and about one that
// lies in the home directory and has a desktop entry. The question on the
// screen does not wait for what is known of them if that takes long, so the
// screen is only told of.
func TestBackground(t *testing.T) {
	h := e2etest.NewHome(t)
	srv := listen(t)
	curl, err := filepath.EvalSymlinks(e2etest.Need(t, "curl"))
	if err != nil {
		t.Fatal(err)
	}
	shell, err := filepath.EvalSymlinks(e2etest.Need(t, "sh"))
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(curl)
	if err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(h.Dir, "mine")
	if err := os.WriteFile(mine, program, 0o755); err != nil {
		t.Fatal(err)
	}
	entries := filepath.Join(h.Dir, ".local/share/applications")
	if err := os.MkdirAll(entries, 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(entries, "mine.desktop"),
		"[Desktop Entry]\nType=Application\nName=My Own\nIcon=web-browser\nExec="+mine+" %u\n")
	h.Env = slices.DeleteFunc(h.Env, func(v string) bool { return len(v) > 9 && v[:9] == "XDG_DATA_" })
	s := newScreen(t, h)
	for _, tt := range []struct {
		name, line, title, icon string
		origins, packages       []string
		chain                   []string
	}{
		// Where the distribution is not dpkg's nor rpm's nobody knows.
		{"package", "sh -c 'curl -s " + srv.url() + "; true'", "", "",
			[]string{"package", ""}, []string{"curl", "curl-minimal", ""}, []string{filepath.Base(shell), "curl"}},
		{"home", mine + " -s " + srv.url(), "My Own", "web-browser",
			[]string{"home"}, []string{""}, []string{"mine"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "package" && dpkg() {
				tt.origins, tt.packages = tt.origins[:1], tt.packages[:1]
			}
			s.run(tt.name, "netjail "+tt.line)
			s.question(h)
			var last status
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("status: %+v", last)
				}
			})
			e2etest.WaitFor(t, "what is known of the program", func() bool {
				last = statusOf(t, h)
				q := last.Questions[0]
				return q.Title == tt.title && q.Icon == tt.icon &&
					slices.Contains(tt.origins, q.Origin) && slices.Contains(tt.packages, q.Package)
			})
			if got := last.Questions[0].Chain; !slices.Equal(got, tt.chain) {
				t.Errorf("chain: got %q, want %q", got, tt.chain)
			}
			t.Logf("the screen:\n%s", s.text())
			s.keys("d")
			s.wait("^" + tt.name + `=\d`)
			s.forget()
		})
	}
	srv.wantReached(t, "in the end", 0)
}

// dpkg says whether curl was installed by dpkg here.
func dpkg() bool {
	_, err := os.Stat("/var/lib/dpkg/info/curl.list")
	return err == nil
}
