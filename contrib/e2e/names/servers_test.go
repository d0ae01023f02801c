package names

import (
	"slices"
	"strings"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// TestOtherServer asks a server that the system is not configured with.
func TestOtherServer(t *testing.T) {
	e2etest.Need(t, "dig")
	e2etest.Need(t, "curl")
	const name, at = "a.example.org", "198.51.100.11" // as it says
	for _, how := range []struct{ flag, proto string }{{"+notcp", "udp"}, {"+tcp", "tcp"}} {
		t.Run(how.proto, func(t *testing.T) {
			x := newTrial(t)
			args := []string{"sh", "-c", `dig +short +tries=1 "$1" "$2" "$3"; curl -s "http://$4/" || echo failed`, "sh",
				how.flag, "@" + otherServer, name, at}
			run := func(t *testing.T, flags ...string) (outcome, []string) {
				other.reset(t)
				got := x.jailed(t, flags, args...)
				got.onlyAsked(t)
				return got, other.names(t)
			}
			other.reset(t)
			bare := x.bare(t, args...)
			if bare.Stdout != at+"\nhello\n" || !slices.Equal(other.names(t), []string{name}) {
				t.Fatalf("without netjail: %+v", bare)
			}

			got, asked := run(t, allow(name)...)
			if len(asked) != 0 {
				t.Errorf("it was asked %q, want nothing: no rule allows the server", asked)
			}
			got.onlyArrived(t)
			got.hinted(t, "sh", "connect "+how.proto+"://"+otherServer+":53", "connect tcp://"+at+":80")

			got, asked = run(t, allow(name, otherServer+":53")...)
			got.printed(t, bare.Stdout)
			got.onlyArrived(t, at)
			if !slices.Equal(asked, []string{name}) {
				t.Errorf("it was asked %q, want %s", asked, name)
			}

			// Whoever allows a network has not said that it knows names.
			got, _ = run(t, allow(name, "198.51.100.0/24:53")...)
			got.printed(t, at+"\nfailed\n")
			got.onlyArrived(t)

			got, asked = run(t, append(allow(otherServer+":53"), "--deny", name)...)
			if len(asked) != 0 || strings.Contains(got.Stdout, at+"\n") {
				t.Errorf("it was asked %q for a denied name", asked)
			}
		})
	}
}

// TestCanary has browsers hear that they shall not resolve by themselves.
func TestCanary(t *testing.T) {
	e2etest.Need(t, "dig")
	const name = "use-application-dns.net"
	x := newTrial(t)
	bare := x.bare(t, "dig", "+short", name)
	bare.succeeded(t, name)
	got := x.jailed(t, allow("@any"), "dig", "+short", name)
	got.printed(t, "")
	got.nothing(t)
}

// pythonSend sends a datagram to a server: HOW, SERVER, and the name that it
// asks for, or nothing for what is no query. It prints the code of the answer
// and whether it was about the name.
const pythonSend = `
import socket, struct, sys
how, server, name = sys.argv[1:]
msg = b"hello, what is no query can carry data too"
if name:
    msg = struct.pack(">6H", 4711, 0x100, 1, 0, 0, 0)
    for label in name.split("."):
        msg += bytes([len(label)]) + label.encode()
    msg += b"\0" + struct.pack(">2H", 1, 1)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(30 if name else 0.001)
try:
    if how == "connected":
        s.connect((server, 53))
        s.send(msg)
    elif how == "sendmsg":
        s.sendmsg([msg[:7], msg[7:]], [], 0, (server, 53))
    else:
        s.sendto(msg, (server, 53))
    answer, source = s.recvfrom(4096)
    print("id %d, code %d, %d answers" % (struct.unpack(">H", answer[:2])[0], answer[3] & 15, struct.unpack(">H", answer[6:8])[0]))
    print(source, file=sys.stderr)
except TimeoutError:
    print("silence")
except OSError as e:
    print(e.strerror)`

// TestDatagrams sends to the system's server what the C library would not.
func TestDatagrams(t *testing.T) {
	e2etest.Need(t, "/usr/bin/python3")
	x := newTrial(t)
	for _, how := range []string{"connected", "sendto", "sendmsg"} {
		command := func(name string) []string {
			return []string{"/usr/bin/python3", "-c", pythonSend, how, dnsServer, name}
		}
		t.Run(how+" a query", func(t *testing.T) {
			const name = "a.example.org"
			bare := x.bare(t, command(name)...)
			bare.succeeded(t, name)
			bare.printed(t, "id 4711, code 0, 1 answers\n")
			same(t, x.jailed(t, allow(name), command(name)...), bare)
			got := x.jailed(t, nil, command(name)...)
			got.printed(t, "id 4711, code 3, 0 answers\n")
			got.nothing(t)
			got.hinted(t, "python3", "look up "+name)
		})
		t.Run(how+" no query", func(t *testing.T) {
			bare := x.bare(t, command("")...)
			bare.succeeded(t, "?")
			got := x.jailed(t, allow("a.example.org"), command("")...)
			got.nothing(t)
			if how != "connected" {
				got.printed(t, "Permission denied\n")
				got.hinted(t, "python3", "send udp://"+dnsServer+":53")
			}
			// What is connected passes the resolver even if a rule allows the server.
			if got = x.jailed(t, allow(dnsServer+":53"), command("")...); how != "connected" {
				same(t, got, bare)
			} else {
				got.nothing(t)
			}
		})
	}
}

// TestNoServer has nobody listen where the system's server should be, and then
// one that is there come second.
func TestNoServer(t *testing.T) {
	for _, tt := range []struct{ name, conf string }{
		{"none", "nameserver 198.51.100.99\noptions timeout:30 attempts:1\n"},
		{"second", "nameserver 198.51.100.99\nnameserver " + dnsServer + "\noptions timeout:30 attempts:1\n"},
	} {
		configure(t, "/etc/resolv.conf", tt.conf)
		for name, client := range map[string]string{"glibc": glibcClient(t), "musl": muslClient(t), "Go": goClient(t)} {
			if name == "musl" && tt.name == "none" {
				continue // it hears of no error, and waits
			}
			t.Run(tt.name+" "+name, func(t *testing.T) {
				x := newTrial(t)
				args := []string{client, "lookup", "a.example.org"}
				bare := x.bare(t, args...)
				got := x.jailed(t, allow(".example.org"), args...)
				got.printed(t, bare.Stdout)
				if bare.took > atOnce || got.took > atOnce {
					t.Errorf("took %v, without netjail %v, want less than %v", got.took, bare.took, atOnce)
				}
			})
		}
	}
}
