package names

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// visit is a script that fetches names in order, and says how each went.
const visit = `for name; do curl -s "http://$name/" || echo "$name failed"; done`

// visits returns a command that fetches names.
func visits(names ...string) []string {
	return append([]string{"sh", "-c", visit, "sh"}, names...)
}

// TestSharedAddress has two names on one address. An address is as good as the
// worst of the names that the program has asked for.
func TestSharedAddress(t *testing.T) {
	e2etest.Need(t, "curl")
	const one, two, at = "one.example.org", "two.example.org", "198.51.100.10"
	x := newTrial(t)
	bare := x.bare(t, visits(one, two, one)...)
	bare.succeeded(t, one, two)
	bare.onlyArrived(t, at, at, at)

	t.Run("the other is undecided", func(t *testing.T) {
		got := x.jailed(t, allow(one+":80"), visits(one, two, one)...)
		got.printed(t, lines("hello", two+" failed", "hello"))
		got.onlyAsked(t, one)
		got.onlyArrived(t, at, at)
		got.hinted(t, "sh", "look up "+two)
	})
	t.Run("the other is denied", func(t *testing.T) {
		got := x.jailed(t, append(allow("@any"), "--deny", two), visits(one, two, one)...)
		got.printed(t, lines("hello", two+" failed", "hello"))
		got.onlyAsked(t, one)
		got.onlyArrived(t, at, at)
	})
	t.Run("the other is denied below its domain", func(t *testing.T) {
		got := x.jailed(t, append(allow(one), "--deny", ".example.org"), visits(two, one)...)
		got.printed(t, lines(two+" failed", "hello"))
		got.onlyAsked(t, one)
		got.onlyArrived(t, at)
	})
	t.Run("the other has another port", func(t *testing.T) {
		got := x.jailed(t, allow(one+":80", two+":443"), visits(one, two, one)...)
		got.printed(t, lines("hello", two+" failed", one+" failed"))
		got.onlyAsked(t, one, two)
		got.onlyArrived(t, at)
		got.hinted(t, "sh", "connect tcp://"+two+":80")
	})
	t.Run("both are allowed", func(t *testing.T) {
		got := x.jailed(t, allow(one, two), visits(one, two, one)...)
		same(t, got, bare)
	})
	t.Run("the address is allowed", func(t *testing.T) {
		got := x.jailed(t, allow(at+":80"), visits(one, two, one)...)
		same(t, got, bare)
	})
}

// TestAnswerOfRule has a rule say what a program hears of a denied name.
func TestAnswerOfRule(t *testing.T) {
	e2etest.Need(t, "dig")
	x := newTrial(t)
	args := []string{"dig", "+tries=1", "+noall", "+comments", "a.example.org"}
	for _, tt := range []struct{ answer, want string }{
		{"nxdomain", "status: NXDOMAIN"}, {"refused", "status: REFUSED"},
	} {
		x.run(t, "rules", "add", "dig", "deny", "a.example.org", "--answer", tt.answer)
		got := x.jailed(t, nil, args...)
		got.nothing(t)
		if !strings.Contains(got.Stdout, tt.want) {
			t.Errorf("printed %q, want %q in it", got.Stdout, tt.want)
		}
	}
}

// pythonMoving fetches one name until it has seen two addresses.
const pythonMoving = `
import socket, sys
def fetch(host):
    s = socket.create_connection((host, 80), timeout=60)
    s.sendall(b"GET / HTTP/1.0\r\n\r\n")
    print(s.makefile().read().split("\n")[-2])
for i in range(3):
    fetch(sys.argv[1])`

// TestMovingAddress has a name that leads elsewhere each time.
func TestMovingAddress(t *testing.T) {
	e2etest.Need(t, "/usr/bin/python3")
	const name = "moving.example.org"
	args := []string{"/usr/bin/python3", "-c", pythonMoving, name}
	x := newTrial(t)
	place.Store(0)
	bare := x.bare(t, args...)
	bare.succeeded(t, name)
	bare.onlyArrived(t, "198.51.100.21", "198.51.100.22", "198.51.100.23")
	place.Store(0)
	same(t, x.jailed(t, allow(name+":80"), args...), bare)
	place.Store(0)
	got := x.jailed(t, allow(name+":443"), args...)
	got.failed(t)
	got.onlyArrived(t)
}

// TestAlias has a name that leads to another domain's: rules are about the name
// that was asked for.
func TestAlias(t *testing.T) {
	e2etest.Need(t, "curl")
	const alias, target, at = "alias.example.org", "cdn.example.net", "198.51.100.3"
	x := newTrial(t)
	bare := x.bare(t, visits(alias)...)
	bare.succeeded(t, alias)
	bare.onlyArrived(t, at)
	same(t, x.jailed(t, allow(alias+":80"), visits(alias)...), bare)

	t.Run("only the target is allowed", func(t *testing.T) {
		got := x.jailed(t, allow(target), visits(alias)...)
		got.printed(t, lines(alias+" failed"))
		got.nothing(t)
		got.hinted(t, "sh", "look up "+alias)
	})
	t.Run("the target is asked for, too", func(t *testing.T) {
		got := x.jailed(t, allow(alias+":80", target+":443"), visits(alias, target)...)
		got.printed(t, lines("hello", target+" failed"))
		got.onlyArrived(t, at)
		got.hinted(t, "sh", "connect tcp://"+target+":80")
	})
}

const pythonAll = `
import socket, sys
found = sorted({a[4][0] for a in socket.getaddrinfo(sys.argv[1], 80, type=socket.SOCK_STREAM)})
for address in found + sys.argv[2:]:
    try:
        socket.create_connection((address, 80), timeout=60).close()
        print(address, "ok")
    except OSError as e:
        print(address, e.strerror)`

// TestFifty has a name with fifty addresses, which is more than a datagram
// without EDNS holds, and connects to each, and to one more.
func TestFifty(t *testing.T) {
	e2etest.Need(t, "/usr/bin/python3")
	const name, another = "fifty.example.org", "198.51.100.20"
	args := []string{"/usr/bin/python3", "-c", pythonAll, name}
	for _, options := range []string{"", "options edns0\n", "options use-vc\n"} {
		t.Run("resolv.conf "+strings.TrimSpace(options), func(t *testing.T) {
			configure(t, "/etc/resolv.conf", resolvConf+options)
			x := newTrial(t)
			bare := x.bare(t, args...)
			bare.succeeded(t, name)
			if len(bare.arrived) != 50 {
				t.Fatalf("arrived at %d, want 50:\n%s", len(bare.arrived), bare.Stderr)
			}
			got := x.jailed(t, allow(name+":80"), append(args, another)...)
			same(t, outcome{Result: e2etest.Result{Stdout: got.Stdout}, asked: got.asked, arrived: got.arrived},
				outcome{Result: e2etest.Result{Stdout: bare.Stdout + another + " Permission denied\n"}, asked: bare.asked, arrived: bare.arrived})
			got.hinted(t, "python3", "connect tcp://"+another+":80")
			got = x.jailed(t, nil, args...)
			got.failed(t)
			got.nothing(t)
		})
	}
}

// TestBareAddress connects without a lookup: the address has no name, although
// another program's has one.
func TestBareAddress(t *testing.T) {
	e2etest.Need(t, "curl")
	x := newTrial(t)
	got := x.jailed(t, allow("a.example.org"), visits("198.51.100.1", "a.example.org", "198.51.100.1")...)
	got.printed(t, lines("198.51.100.1 failed", "hello", "hello"))
	got.onlyAsked(t, "a.example.org")
	got.onlyArrived(t, "198.51.100.1", "198.51.100.1")
	got.hinted(t, "sh", "connect tcp://198.51.100.1:80")
	got = x.jailed(t, allow("a.example.org"), visits("198.51.100.1")...)
	got.nothing(t)
}

// TestRebinding has public names with addresses that are not public.
func TestRebinding(t *testing.T) {
	e2etest.Need(t, "curl")
	for _, tt := range []struct{ name, at string }{
		{"home.example.org", "127.0.0.1"}, {"inside.example.org", "10.77.0.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := newTrial(t)
			bare := x.bare(t, visits(tt.name)...)
			bare.succeeded(t, tt.name)
			bare.onlyArrived(t, tt.at)
			for _, dest := range []string{tt.name, tt.name + ":80", ".example.org", "@internet"} {
				got := x.jailed(t, allow(dest), visits(tt.name)...)
				got.printed(t, lines(tt.name+" failed"))
				got.onlyAsked(t, tt.name)
				got.onlyArrived(t)
				got.hinted(t, "sh", "connect tcp://"+tt.at+":80")
			}
			same(t, x.jailed(t, allow(tt.name, tt.at+":80"), visits(tt.name)...), bare)
			x.run(t, "rules", "add", "sh", "allow", tt.name)
			got := x.jailed(t, nil, visits(tt.name)...)
			got.onlyArrived(t)
			x.run(t, "rules", "add", "sh", "allow", tt.name, "--local")
			got = x.jailed(t, nil, visits(tt.name)...)
			if tt.at != "127.0.0.1" {
				same(t, got, bare)
				return
			}
			got.onlyArrived(t) // nobody's name is this machine's
		})
	}
	t.Run("metadata.example.org", func(t *testing.T) {
		x := newTrial(t)
		x.run(t, "rules", "add", "sh", "allow", "metadata.example.org", "@any", "--local")
		got := x.jailed(t, nil, visits("metadata.example.org")...)
		got.printed(t, lines("metadata.example.org failed"))
		got.onlyAsked(t, "metadata.example.org")
		if !slices.Equal(hints(t, got.Stderr, "sh"), []string{"connect tcp://169.254.169.254:80"}) {
			t.Errorf("stderr:\n%s", got.Stderr)
		}
	})
}

// TestHostsFile has names that no server is asked for.
func TestHostsFile(t *testing.T) {
	e2etest.Need(t, "curl")
	configure(t, "/etc/hosts", hosts+
		"198.51.100.20 hosted.example.org hosted # a name of the machine's own\n10.77.0.1 nas.example.org\n")
	x := newTrial(t)
	for _, name := range []string{"hosted.example.org", "hosted", "nas.example.org"} {
		t.Run(name, func(t *testing.T) {
			bare := x.bare(t, visits(name)...)
			bare.succeeded(t)
			bare.onlyAsked(t)
			allowed := []string{name + ":80"}
			if name != "nas.example.org" {
				allowed = []string{"hosted.example.org:80", "hosted:80"} // both are its names
			}
			same(t, x.jailed(t, allow(allowed...), visits(name)...), bare)
			got := x.jailed(t, nil, visits(name)...)
			got.printed(t, lines(name+" failed"))
			got.nothing(t)
			if list := hints(t, got.Stderr, "sh"); len(list) != 1 || !strings.Contains(list[0], name[:3]) {
				t.Errorf("hints %q, want one with the name %s", list, name)
			}
		})
	}
}

// TestLocalhost looks up what every machine has, with and without a hosts file.
func TestLocalhost(t *testing.T) {
	for _, text := range []string{hosts, "# nothing\n"} {
		configure(t, "/etc/hosts", text)
		x := newTrial(t)
		for name, args := range map[string][]string{
			"curl": {"curl", "-sS", "-4", "http://localhost/"}, "dig": {"dig", "+short", "localhost"},
			"glibc": {glibcClient(t), "fetch", "localhost", "80"}, "musl": {muslClient(t), "fetch", "localhost", "80"},
		} {
			if name == "musl" && text != hosts {
				continue // it takes the answers of servers only
			}
			t.Run(name, func(t *testing.T) {
				e2etest.Need(t, args[0])
				got := x.jailed(t, allow("@localhost:80"), args...)
				if got.Code != 0 || got.Stdout == "" || len(got.arrived) != 1 && name != "dig" {
					t.Errorf("%+v", got)
				}
				got.onlyAsked(t)
				if got = x.jailed(t, nil, args...); len(got.arrived) != 0 {
					t.Errorf("denied: %+v", got)
				}
			})
		}
	}
}

// TestSearch completes a name by the search list. Only what is allowed is asked
// for.
func TestSearch(t *testing.T) {
	configure(t, "/etc/resolv.conf", resolvConf+"search example.com search.org\n")
	for name, args := range map[string][]string{
		"glibc": {glibcClient(t), "fetch", "www", "80"}, "musl": {muslClient(t), "fetch", "www", "80"}, "Go": {goClient(t), "fetch", "www", "80"},
	} {
		t.Run(name, func(t *testing.T) {
			x := newTrial(t)
			bare := x.bare(t, args...)
			bare.succeeded(t, "www.example.com", "www.search.org")
			got := x.jailed(t, allow("www.search.org:80"), args...)
			got.printed(t, bare.Stdout)
			got.onlyAsked(t, "www.search.org")
			got.hinted(t, args[0], "look up www.example.com")
			got = x.jailed(t, nil, args...)
			got.failed(t)
			got.nothing(t)
		})
	}
}

// TestSuccessor leaves a process behind that looks names up after the program
// has ended: whoever supervises it then has a resolver of its own.
func TestSuccessor(t *testing.T) {
	e2etest.Need(t, "curl")
	for _, client := range []string{"curl -s http://NAME/", glibcClient(t) + " fetch NAME 80", muslClient(t) + " fetch NAME 80"} {
		x := newTrial(t)
		script := `(
	exec >log 2>&1 </dev/null
	until [ -e go ]; do sleep 0.02; done
	for name in b.example.org a.example.org; do
		` + strings.ReplaceAll(client, "NAME", "$name") + ` >out && tail -n 1 out || echo "$name failed"
	done
	mv log done
) &`
		got := x.jailed(t, allow("a.example.org:80"), "sh", "-c", script)
		if got.Code != 0 {
			t.Fatalf("%+v", got)
		}
		got.nothing(t)
		system.reset(t)
		web.reset(t)
		if err := os.WriteFile(filepath.Join(x.h.Dir, "go"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		var log []byte
		e2etest.WaitFor(t, "what was left behind ends", func() bool {
			var err error
			log, err = os.ReadFile(filepath.Join(x.h.Dir, "done"))
			return err == nil
		})
		if s := string(log); !strings.Contains(s, "b.example.org failed\n") || !strings.HasSuffix(s, "hello\n") {
			t.Errorf("it said %q, want a failure and hello", log)
		}
		out := outcome{asked: system.names(t), arrived: web.arrived(t)}
		out.onlyAsked(t, "a.example.org")
		out.onlyArrived(t, "198.51.100.1")
	}
}

// TestTunnel asks for more names of one domain than anything but a tunnel does.
func TestTunnel(t *testing.T) {
	args := []string{"lookup"}
	for i := range 300 {
		args = append(args, fmt.Sprintf("n%d.tunnel.example.org", i))
	}
	for name, client := range map[string]string{"glibc": glibcClient(t), "musl": muslClient(t), "Go": goClient(t)} {
		t.Run(name, func(t *testing.T) {
			x := newTrial(t)
			cmd := append([]string{client}, args...)
			bare := x.bare(t, cmd...)
			if len(bare.asked) != 300 {
				t.Fatalf("%d names were asked for, want 300; stderr:\n%s", len(bare.asked), bare.Stderr)
			}
			got := x.jailed(t, allow("@internet:80"), cmd...)
			got.asked = slices.DeleteFunc(got.asked, func(s string) bool { return s == "invalid" })
			if n := len(got.asked); n < 100 || n > 220 {
				t.Errorf("%d names were asked for, want about 200", n)
			}
			if !strings.Contains(got.Stderr, "names with ") || !strings.Contains(got.Stderr, "look up .example.org: ") {
				t.Errorf("stderr does not say why:\n%s", got.Stderr)
			}
			got.hinted(t, client, "look up .example.org")
			if got.took > atOnce {
				t.Errorf("took %v, want less than %v", got.took, atOnce)
			}
			same(t, x.jailed(t, allow(".tunnel.example.org"), cmd...), bare)
		})
	}
}
