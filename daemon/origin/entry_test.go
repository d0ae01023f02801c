package origin

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/netjail/netjail/notifier"
)

func TestParseEntry(t *testing.T) {
	cases := []struct {
		name, text string
		want       entry
		ok         bool
	}{
		{"usual", "# made by hand\n[Desktop Entry]\nType=Application\nName=Web Browser\nName[de]=Netz\nIcon = web\nExec=/usr/bin/web %u\nTryExec=web\n[Desktop Action new]\nName=New\nExec=no\n",
			entry{name: "Web Browser", icon: "web", tryExec: "web", exec: []string{"/usr/bin/web", "%u"}}, true},
		{"escapes", "[Desktop Entry]\r\nType=Application\r\nName=a\\sb\\\\c\r\nExec=\"/opt/a b/x\" \"say \\\\\"hi\\\\\"\" \"\" y\r\nNoDisplay=true\r\n",
			entry{name: `a b\c`, exec: []string{"/opt/a b/x", `say "hi"`, "", "y"}, noDisplay: true}, true},
		{"other group", "[Other]\nType=Application\nName=x\n", entry{}, false},
		{"link", "[Desktop Entry]\nType=Link\nName=x\n", entry{name: "x"}, false},
		{"hidden", "[Desktop Entry]\nType=Application\nName=x\nHidden=true\n", entry{name: "x"}, false},
		{"empty", "", entry{}, false},
	}
	for _, c := range cases {
		got, ok := parseEntry([]byte(c.text))
		if ok != c.ok || got.name != c.want.name || got.icon != c.want.icon || got.tryExec != c.want.tryExec ||
			!slices.Equal(got.exec, c.want.exec) || got.noDisplay != c.want.noDisplay {
			t.Errorf("%s: got %+v, %v, want %+v, %v", c.name, got, ok, c.want, c.ok)
		}
	}
}

// TestEntry looks an app up among entries that are about others, or broken.
func TestEntry(t *testing.T) {
	dir := t.TempDir()
	app := write(t, dir+"/bin/app", "#!/bin/sh\n")
	write(t, dir+"/bin/wrap", "#!/bin/sh\n")
	if err := os.Symlink(app, dir+"/bin/link"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+"/nothing:"+dir+"/bin")
	cases := []struct {
		name  string
		lines string // of entries, separated by an empty line
		want  string // title and icon
	}{
		{"by path", "Exec=" + app + " %U\nName=A\nIcon=a", "A a"},
		{"by name", "Exec=app -x\nName=A\nIcon=a", "A a"},
		{"by link", "Exec=link\nName=A\nIcon=a", "A a"},
		{"by env", "Exec=env X=1 Y=2 app\nName=A\nIcon=a", "A a"},
		{"by try", "Exec=wrap app\nTryExec=app\nName=A\nIcon=a", "A a"},
		{"interpreter", "Exec=app script\nName=Script\nIcon=a", " "},
		{"another", "Exec=wrap\nName=B\nIcon=a", " "},
		{"of the same name elsewhere", "Exec=/usr/share/app\nName=B", " "},
		{"the plainest", "Exec=app --writer %U\nName=Writer\n\nExec=app %U\nName=A\nIcon=a\n\nExec=app\nNoDisplay=true\nName=N", "A a"},
		{"nothing to run", "Name=B\n\nExec=\nName=C\n\nExec=env\nName=D\n\nExec=env A=1\nTryExec=\nName=E", " "},
		{"icon that is a path", "Exec=app\nName=A\nIcon=/home/x/i.png", map[bool]string{true: "A file:///home/x/i.png", false: "A "}[os.Getuid() == 0]},
		{"icon that is none", "Exec=app\nName=A\nIcon=../x", "A "},
	}
	at, err := os.Stat(app)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range cases {
		share := dir + "/share" + string(rune('a'+i))
		for j, lines := range strings.Split(c.lines, "\n\n") {
			write(t, share+"/applications/sub/"+string(rune('a'+j))+".desktop", "[Desktop Entry]\nType=Application\n"+lines+"\n")
		}
		write(t, share+"/applications/README", "[Desktop Entry]\nType=Application\nName=no\nExec=app\n")
		write(t, share+"/applications/huge.desktop", "[Desktop Entry]\nType=Application\nName=no\nExec=app\n"+strings.Repeat("#\n", maxEntry))
		if err := syscall.Mkfifo(share+"/applications/pipe.desktop", 0o600); err != nil {
			t.Fatal(err)
		}
		got := entryOf([]string{dir + "/none", share}, at)
		if got.Title+" "+got.Icon != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got.Title+" "+got.Icon, c.want)
		}
	}
}

// TestEntryOrder has the administrator's entry before the user's.
func TestEntryOrder(t *testing.T) {
	dir := t.TempDir()
	app := write(t, dir+"/app", "#!/bin/sh\n")
	for _, where := range []string{"system", "home/.local/share"} {
		write(t, dir+"/"+where+"/applications/a.desktop", "[Desktop Entry]\nType=Application\nName="+where[:4]+"\nExec="+app+"\n")
	}
	t.Setenv("XDG_DATA_DIRS", "relative:"+dir+"/system")
	t.Setenv("XDG_DATA_HOME", "")
	f := New(Config{Home: dir + "/home"})
	for _, again := range []string{"", " again"} {
		if got, want := <-f.Find(t.Context(), "", 0, app), (notifier.About{Title: "syst"}); got != want {
			t.Errorf("got %+v%s, want %+v", got, again, want)
		}
	}
}

func TestIcon(t *testing.T) {
	cases := []struct {
		icon    string
		trusted bool
		want    string
	}{
		{"firefox-esr", false, "firefox-esr"},
		{"org.x.App", false, "org.x.App"},
		{"", true, ""},
		{"a b", true, ""},
		{"file:///x", true, ""},
		{"a\x1b", true, ""},
		{"../../x", true, ""},
		{"/usr/share/pixmaps/a b.png", true, "file:///usr/share/pixmaps/a%20b.png"},
		{"/usr/share/pixmaps/x.png", false, ""},
	}
	for _, c := range cases {
		if got := iconOf(c.icon, c.trusted); got != c.want {
			t.Errorf("%q, trusted %v: got %q, want %q", c.icon, c.trusted, got, c.want)
		}
	}
}

func FuzzParseEntry(f *testing.F) {
	f.Add([]byte("[Desktop Entry]\nType=Application\nName=x\nExec=\"a\\\\\"\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if e, ok := parseEntry(text); ok && e.name == "" {
			t.Errorf("%q: an application without a name", text)
		}
	})
}
