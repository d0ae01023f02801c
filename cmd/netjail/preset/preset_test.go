package preset

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// system has tools that print what a test says, and nothing else.
func system(t *testing.T, tools map[string]string) System {
	t.Helper()
	dir := t.TempDir()
	s := System{
		Dir: filepath.Join(dir, "work"), Home: filepath.Join(dir, "home"), Root: filepath.Join(dir, "root"),
		Presets: filepath.Join(dir, "presets"), Env: []string{"PATH=" + filepath.Join(dir, "bin") + ":/usr/bin:/bin"},
	}
	for _, d := range []string{s.Dir, s.Home, s.Presets, filepath.Join(dir, "bin")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range tools {
		write(t, filepath.Join(dir, "bin", name), "#!/bin/sh\n"+text+"\n", 0o755)
	}
	return s
}

func write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// lists returns "destination (from)" of each entry, without the test's own directory.
func lists(p Preset, s System) []string {
	var list []string
	for _, e := range p.Entries {
		list = append(list, fmt.Sprintf("%s (%s)", e.Dest, strings.ReplaceAll(e.From, filepath.Dir(s.Dir), "")))
	}
	return list
}

func TestFind(t *testing.T) {
	cases := []struct {
		name  string
		tools map[string]string
		files map[string]string // below the test's directory
		env   []string
		want  []string
		note  string
	}{
		{name: "npm", tools: map[string]string{"npm": `echo '{"registry":"https://npm.corp.example/r/","@team:registry":"http://team.example:4873/","https-proxy":"http://proxy.example:3128","//npm.corp.example/:_authToken":"https://secret.example","cafile":null,"cache":"/x"}'`},
			want: []string{"tcp://team.example:4873 (npm config @team:registry)", "tcp://proxy.example:3128 (npm config https-proxy)", "tcp://npm.corp.example:443 (npm config registry)"}},
		{name: "go", tools: map[string]string{"go": `echo '{"GOPROXY":"https://goproxy.corp.example,http://[2001:db8::1]:8081/x|direct","GOSUMDB":"sums.example+abc https://sums.corp.example/db","GOPRIVATE":"git.corp.example"}'`},
			want: []string{"tcp://goproxy.corp.example:443 (go env GOPROXY)", "tcp://[2001:db8::1]:8081 (go env GOPROXY)", "tcp://sums.corp.example:443 (go env GOSUMDB)"},
			note: "modules may be fetched from their own hosts"},
		{name: "go", tools: map[string]string{"go": `echo '{"GOPROXY":"file:///mirror,https://a.example","GOSUMDB":"sums.example"}'`},
			want: []string{"tcp://a.example:443 (go env GOPROXY)", "tcp://sums.example:443 (go env GOSUMDB)"}},
		{name: "pip", tools: map[string]string{"python3": `printf 'index-url https://index.example/simple\nfiles https://files.example\nextra-index-urls http://me:secret@more.example:8080/x\nfind-links /wheels\nproxy proxy.example:3128\n'`},
			want: []string{"tcp://index.example:443 (pip index-url)", "tcp://files.example:443 (pip files)", "tcp://more.example:8080 (pip extra-index-urls)", "tcp://proxy.example:3128 (pip proxy)"}},
		{name: "apt", tools: map[string]string{"apt-config": `echo "A='http://cache.example:3142'"`},
			files: map[string]string{
				"root/etc/apt/sources.list":                "# deb http://no.example/ x main\ndeb [arch=amd64 signed-by=/k] https://deb.example/debian stable main # and\ndeb-src http://deb.example/debian stable main\nnonsense\n",
				"root/etc/apt/sources.list.d/more.sources": "Types: deb\nURIs: https://one.example/debian\n https://two.example:8443/debian\nSuites: stable\n# URIs: https://no.example\n",
				"root/etc/apt/sources.list.d/cd.list":      "deb file:/media/cd stable main\n",
			},
			want: []string{
				"tcp://deb.example:443 (/root/etc/apt/sources.list:2)", "tcp://deb.example:80 (/root/etc/apt/sources.list:3)",
				"tcp://one.example:443 (/root/etc/apt/sources.list.d/more.sources:2)", "tcp://two.example:8443 (/root/etc/apt/sources.list.d/more.sources:3)",
				"tcp://cache.example:3142 (apt-config Acquire::Proxy)",
			}},
		{name: "cargo",
			files: map[string]string{
				"work/.cargo/config.toml": "[registries]\nmine = { index = 'x' }\n[registries.corp]\nindex = \"sparse+https://cargo.corp.example/index/\"\n[source.mirror]\nregistry = \"https://mirror.example/git\"\n",
				"home/.cargo/registry/index/index.example-6f17d22bba15001f/config.json": `{"dl":"https://files.example/crates","api":"https://api.example"}`,
			},
			want: []string{
				"tcp://cargo.corp.example:443 (/work/.cargo/config.toml:4)", "tcp://mirror.example:443 (/work/.cargo/config.toml:6)",
				"tcp://index.example:443 (/home/.cargo/registry/index/index.example-6f17d22bba15001f)",
				"tcp://files.example:443 (/home/.cargo/registry/index/index.example-6f17d22bba15001f/config.json)",
				"tcp://api.example:443 (/home/.cargo/registry/index/index.example-6f17d22bba15001f/config.json)",
			}},
		{name: "git", tools: map[string]string{
			"git": `case "$*" in remote) printf 'origin\nback\n';; *--push*origin) echo ssh://me@git.example:2222/x;; *origin) echo https://git.example/x;; *) printf 'me@work:x/y.git\n/local/path\n';; esac`,
			"ssh": `case "$*" in *work) printf 'hostname real.example\nport 2022\nproxyjump gate\n';; *-p\ 2222*) printf 'hostname git.example\nport 2222\n';; esac`,
		},
			want: []string{"tcp://git.example:443 (git remote origin)", "tcp://git.example:2222 (git remote origin)", "tcp://real.example:2022 (git remote back)"},
			note: "ssh reaches work through \"gate\""},
		{name: "mine", files: map[string]string{"presets/mine": "# for the build\nexample.org:443, 10.0.0.0/8  # and the LAN\n\n.example.net\n"},
			want: []string{"example.org:443 (/presets/mine:2)", "10.0.0.0/8 (/presets/mine:2)", ".example.net (/presets/mine:4)"}},
		{name: "npm", files: map[string]string{"presets/npm": "own.example"}, want: []string{"own.example (/presets/npm:1)"}},
		{name: "go", tools: map[string]string{"go": `echo '{"GOPROXY":"https://a.example","GOSUMDB":"off"}'`}, env: []string{"https_proxy=proxy.example:3128"},
			want: []string{"tcp://a.example:443 (go env GOPROXY)", "tcp://proxy.example:3128 ($https_proxy)"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := system(t, c.tools)
			s.Env = append(s.Env, c.env...)
			for name, text := range c.files {
				write(t, filepath.Join(filepath.Dir(s.Dir), name), text, 0o644)
			}
			p, err := Find(t.Context(), c.name, s)
			if err != nil {
				t.Fatal(err)
			}
			if got := lists(p, s); !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			if notes := strings.Join(p.Notes, "\n"); !strings.Contains(notes, c.note) || c.note == "" && notes != "" {
				t.Errorf("notes %q, want %q", notes, c.note)
			}
		})
	}
}

// TestFindFails: no preset is better than half of one, and no error tells a secret.
func TestFindFails(t *testing.T) {
	for _, c := range []struct {
		name  string
		tools map[string]string
		file  string
		want  string
	}{
		{"nothing", nil, "", "no such preset"},
		{"../mine", nil, "", "no such preset"},
		{".hidden", nil, "", "no such preset"},
		{"", nil, "", "no such preset"},
		{"npm", map[string]string{"npm": "echo no config >&2; exit 3"}, "", "npm config list --json: exit status 3: no config"},
		{"npm", map[string]string{"npm": "echo '{'"}, "", "npm config: unexpected end"},
		{"npm", map[string]string{"npm": "echo '{}'"}, "", "it names no host"},
		{"npm", map[string]string{"npm": `echo '{"registry":"https://me:secret@[bad/"}'`}, "", "npm config registry: not a URL"},
		{"npm", map[string]string{"npm": `echo '{"registry":"https://*.a.example/"}'`}, "", "is no host"},
		{"go", map[string]string{"go": "exit 1"}, "", "it says nothing"},
		{"mine", nil, "example.org\nno such thing!\n", "presets/mine:2: "},
	} {
		s := system(t, c.tools)
		if c.file != "" {
			write(t, filepath.Join(s.Presets, c.name), c.file, 0o644)
		}
		_, err := Find(t.Context(), c.name, s)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
		if want := c.want == "no such preset"; errors.Is(err, ErrUnknown) != want {
			t.Errorf("%s: unknown: %v", c.name, !want)
		}
	}
}

// TestLook: what lies in the working directory is not run.
func TestLook(t *testing.T) {
	s := system(t, nil)
	write(t, filepath.Join(s.Dir, "npm"), "#!/bin/sh\necho '{\"registry\":\"https://evil.example\"}'\n", 0o755)
	s.Env = []string{"PATH=.:" + s.Presets}
	t.Chdir(s.Dir)
	if p, err := Find(t.Context(), "npm", s); err == nil {
		t.Errorf("got %+v", p)
	}
}

// TestHere asks the tools of this machine: whatever they say can be read.
func TestHere(t *testing.T) {
	s, err := Here()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"go", "git", "apt"} {
		p, err := Find(t.Context(), name, s)
		t.Logf("%s: %d destinations, %v, %v", name, len(p.Entries), p.Notes, err)
		if name == "go" && (err != nil || len(p.Entries) == 0) {
			t.Errorf("the go that runs this test has no proxy: %v", err)
		}
	}
	if got := Names(s); !slices.Contains(got, "npm") || !slices.IsSorted(got) {
		t.Errorf("names: %v", got)
	}
}
