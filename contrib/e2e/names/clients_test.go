package names

import (
	"slices"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// Scripts that look a name up and make one exchange.
const (
	pythonFetch = `
import sys, urllib.request
print(urllib.request.urlopen("http://" + sys.argv[1] + "/", timeout=60).read().decode())`
	nodeFetch = `
fetch("http://" + process.argv[1] + "/").then(r => r.text()).then(t => console.log(t)).catch(e => {
  console.error(e.cause)
  process.exit(1)
})`
	nodeCares = `
const name = process.argv[1], resolver = new (require("dns").promises.Resolver)({timeout: 5000, tries: 1})
resolver[name.startsWith("six") ? "resolve6" : "resolve4"](name).then(a => {
  const c = require("net").connect(80, a[0], () => c.end("GET / HTTP/1.0\r\n\r\n"))
  c.on("data", d => process.stdout.write(d))
}).catch(e => {
  console.error(e.code)
  process.exit(1)
})`
)

// clients look HOST up by every resolver that there is, and connect to it.
func clients(t *testing.T) map[string][]string {
	t.Helper()
	return map[string][]string{
		"glibc":        {glibcClient(t), "fetch", "HOST", "80"},
		"musl":         {muslClient(t), "fetch", "HOST", "80"},
		"Go":           {goClient(t), "fetch", "HOST", "80"},
		"curl":         {"curl", "-sS", "--max-time", "60", "http://HOST/"},
		"wget":         {"wget", "-nv", "-O", "-", "--tries", "1", "http://HOST/"},
		"python":       {"/usr/bin/python3", "-c", pythonFetch, "HOST"},
		"node":         {"/usr/bin/node", "-e", nodeFetch, "HOST"},
		"getent, curl": {"sh", "-c", "getent ahosts HOST >/dev/null && curl -sS http://HOST/"},
	}
}

// TestClients has each client look a name up natively, undecided about, denied
// and allowed: a name with an IPv4 address, and one that has only an IPv6 one.
func TestClients(t *testing.T) {
	for name, args := range clients(t) {
		for _, host := range []string{"a.example.org", "six.example.org"} {
			t.Run(name+" "+host, func(t *testing.T) {
				e2etest.Need(t, args[0])
				threeRuns(t, host, fill(args, host))
			})
		}
	}
}

// TestCares is TestClients with node's other resolver, which drops what does not
// come from the server's address.
func TestCares(t *testing.T) {
	e2etest.Need(t, "/usr/bin/node")
	for _, server := range []string{dnsServer, dnsServer6, loopbackServer} {
		configure(t, "/etc/resolv.conf", "nameserver "+server+"\n")
		for _, host := range []string{"a.example.org", "six.example.org"} {
			t.Run(server+" "+host, func(t *testing.T) {
				threeRuns(t, host, []string{"/usr/bin/node", "-e", nodeCares, host})
			})
		}
	}
}

func fill(args []string, host string) []string {
	filled := slices.Clone(args)
	for i := range filled {
		filled[i] = replaceHost(filled[i], host)
	}
	return filled
}

func threeRuns(t *testing.T, host string, args []string) {
	t.Helper()
	x := newTrial(t)
	bare := x.bare(t, args...)
	bare.succeeded(t, host)
	if len(bare.arrived) != 1 {
		t.Fatalf("arrived at %q, want one connection", bare.arrived)
	}
	t.Run("undecided", func(t *testing.T) {
		got := x.jailed(t, nil, args...)
		got.failed(t)
		got.nothing(t)
		got.hinted(t, args[0], "look up "+host)
	})
	t.Run("denied", func(t *testing.T) {
		got := x.jailed(t, []string{"--allow", "@any", "--deny", host}, args...)
		got.failed(t)
		got.nothing(t)
	})
	t.Run("allowed", func(t *testing.T) {
		got := x.jailed(t, allow(host+":80"), args...)
		same(t, got, bare)
		got.hinted(t, args[0])
	})
	t.Run("another port allowed", func(t *testing.T) {
		got := x.jailed(t, allow(host+":81"), args...)
		got.failed(t)
		got.onlyArrived(t)
		got.onlyAsked(t, host)
		got.hinted(t, args[0], "connect tcp://"+host+":80")
	})
}

func (o *outcome) failed(t *testing.T) {
	t.Helper()
	if o.Code == 0 {
		t.Errorf("code 0, want any other; stdout:\n%s\nstderr:\n%s", o.Stdout, o.Stderr)
	}
}

// TestDig asks in every way that dig has. dig takes any answer for a success.
func TestDig(t *testing.T) {
	e2etest.Need(t, "dig")
	const host = "a.example.org"
	tests := map[string][]string{
		"UDP":           {"+short", host},
		"TCP":           {"+tcp", "+short", host},
		"IPv6":          {"@" + dnsServer6, "+short", host},
		"IPv6 TCP":      {"@" + dnsServer6, "+tcp", "+short", host},
		"no EDNS":       {"+noedns", "+short", host},
		"AAAA":          {"+short", "six.example.org", "AAAA"},
		"ANY":           {"+short", "+notcp", host, "ANY"},
		"kept open":     {"+tcp", "+keepopen", "+short", host, "six.example.org", "AAAA"},
		"big":           {"+bufsize=4096", "+short", "big.example.org"},
		"cut off":       {"+bufsize=512", "+ignore", "+short", "big.example.org"},
		"cut off, then": {"+bufsize=512", "+short", "big.example.org"},
		"upper case":    {"+short", "A.Example.ORG"},
		"no such name":  {"+noall", "+comments", "+nocookie", "+qid=1", "missing.example.org"},
	}
	for name, args := range tests {
		t.Run(name, func(t *testing.T) {
			configure(t, "/etc/resolv.conf", "nameserver "+dnsServer+"\nnameserver "+dnsServer6+"\noptions attempts:1 timeout:30\n")
			args = append([]string{"dig", "+time=30", "+tries=1"}, args...)
			x := newTrial(t)
			bare := x.bare(t, args...)
			if bare.Code != 0 || len(bare.asked) == 0 {
				t.Fatalf("without netjail: %+v", bare)
			}
			allowed := x.jailed(t, allow(".example.org"), args...)
			same(t, allowed, bare)
			allowed.hinted(t, "dig")
			denied := x.jailed(t, nil, args...)
			denied.nothing(t)
			if denied.Stdout == bare.Stdout && bare.Stdout != "" && name != "no such name" {
				t.Errorf("printed %q, want nothing of it", denied.Stdout)
			}
			var want []string
			for _, n := range bare.asked {
				want = append(want, "look up "+n)
			}
			denied.hinted(t, "dig", want...)
		})
	}
}
