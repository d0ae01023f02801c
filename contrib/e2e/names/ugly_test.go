package names

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// late is how long a server that is late takes.
const late = 1500 * time.Millisecond

// ugly are the ways of a server to answer about a name, besides those that are
// silent to a client that checks what it gets.
var ugly = map[string]handler{
	"twice":           func(q *question) { good(q); good(q) },
	"cut":             over(func(q *question) { q.send(q.message(answer{id: q.id, cut: true})) }, good),
	"cut-with-half":   over(func(q *question) { q.send(cutOff(q.message(answer{id: q.id, cut: true, records: records(q)}))) }, good),
	"wrong-id-first":  func(q *question) { q.send(q.message(answer{id: q.id + 1, records: wrong(q)})); good(q) },
	"wrong-question":  func(q *question) { q.send(otherQuestion(q)); good(q) },
	"junk-first":      func(q *question) { q.send([]byte("junk")); q.send(make([]byte, 100)); good(q) },
	"question-first":  func(q *question) { q.send(question0(q)); good(q) },
	"loop":            func(q *question) { q.send(withOwner(q, 0xc0, 12+1+byte(len("loop"))+1, true)) },
	"pointer-outside": func(q *question) { q.send(withOwner(q, 0xff, 0xff, false)) },
	"half":            func(q *question) { q.send(cutOff(q.message(answer{id: q.id, records: records(q)}))) },
	"many-counted":    func(q *question) { q.send(counted(q)) },
	"servfail":        fails(dnsmessage.RCodeServerFailure),
	"refused":         fails(dnsmessage.RCodeRefused),
	"nxdomain":        fails(dnsmessage.RCodeNameError),
	"formerr":         fails(dnsmessage.RCodeFormatError),
	"notimp":          fails(dnsmessage.RCodeNotImplemented),
	"odd-code":        fails(dnsmessage.RCode(13)),
	"nothing":         func(q *question) { q.reply() },
	"alias-loop":      func(q *question) { q.reply(q.alias(q.name, "alias.ugly.org"), q.alias("alias.ugly.org", q.name)) },
	"alias-of-itself": func(q *question) { q.reply(q.alias(q.name, q.name)) },
	"another-name":    func(q *question) { q.reply(q.records("evil.ugly.org", 60, netip.MustParseAddr("198.51.100.66"))...) },
	"64k":             over(func(q *question) { q.send(q.message(answer{id: q.id, cut: true})) }, huge),
}

// silent are those after which a client waits in vain, or tries again.
var silent = map[string]handler{
	"never":          func(*question) {},
	"wrong-id":       func(q *question) { q.send(q.message(answer{id: q.id + 1, records: wrong(q)})) },
	"other-question": func(q *question) { q.send(otherQuestion(q)) },
	"junk":           func(q *question) { q.send([]byte("junk")) },
	"empty":          func(q *question) { q.send(nil) },
	"hang-up":        over(func(q *question) { q.send(q.message(answer{id: q.id, cut: true})) }, func(q *question) { q.hangUp() }),
}

const uglyDomain = ".ugly.org"

func init() {
	zone["late"+uglyDomain] = func(q *question) { time.AfterFunc(late, func() { good(q) }) }
	for _, list := range []map[string]handler{ugly, silent} {
		for name, h := range list {
			zone[name+uglyDomain] = h
		}
	}
}

// over answers over UDP, and over TCP.
func over(udp, tcp handler) handler {
	return func(q *question) {
		if q.tcp {
			tcp(q)
		} else {
			udp(q)
		}
	}
}

func records(q *question) []dnsmessage.Resource {
	return q.records(q.name, 60, netip.MustParseAddr("198.51.100.31"), netip.MustParseAddr("198.51.100.32"))
}

// wrong are records that nobody should believe.
func wrong(q *question) []dnsmessage.Resource {
	return q.records(q.name, 60, netip.MustParseAddr("198.51.100.66"))
}

func good(q *question) { q.reply(records(q)...) }

// huge fills the largest message there is.
func huge(q *question) {
	var addrs []netip.Addr
	for i := range 4000 { // with 16 bytes each
		addrs = append(addrs, netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}))
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: q.id, Response: true, RecursionAvailable: true})
	b.EnableCompression()
	_ = b.StartQuestions()
	_ = b.Question(q.Question)
	_ = b.StartAnswers()
	if q.Type == dnsmessage.TypeA {
		for _, a := range addrs {
			_ = b.AResource(header(q.name, 60), dnsmessage.AResource{A: a.As4()})
		}
	}
	raw, err := b.Finish()
	if err != nil || len(raw) > 65535 {
		panic(err)
	}
	q.send(raw)
}

func cutOff(raw []byte) []byte { return raw[:len(raw)-5] }

func otherQuestion(q *question) []byte {
	o := *q
	o.Name = dnsmessage.MustNewName("other" + uglyDomain + ".")
	return o.message(answer{id: q.id, records: o.records("other"+uglyDomain, 60, netip.MustParseAddr("198.51.100.66"))})
}

// question0 is the query itself.
func question0(q *question) []byte {
	raw := q.message(answer{id: q.id})
	raw[2] &^= 0x80
	return raw
}

// withOwner puts two bytes, which are a pointer, before the data of a record.
// here has it point to itself.
func withOwner(q *question, hi, lo byte, here bool) []byte {
	raw := q.message(answer{id: q.id})
	binary.BigEndian.PutUint16(raw[6:], 1)
	if here {
		hi, lo = 0xc0, byte(len(raw))
	}
	typ := byte(q.Type)
	data := []byte{198, 51, 100, 31}
	if q.Type == dnsmessage.TypeAAAA {
		data = make([]byte, 16)
	}
	raw = append(raw, hi, lo, 0, typ, 0, 1, 0, 0, 0, 60, 0, byte(len(data)))
	return append(raw, data...)
}

// counted says that there is more than there is.
func counted(q *question) []byte {
	raw := q.message(answer{id: q.id, records: records(q)})
	for i := 6; i < 12; i += 2 {
		binary.BigEndian.PutUint16(raw[i:], 65535)
	}
	return raw
}

// stricter are the ways in which an answer is not one to be read: where a
// program natively makes something of the rest, in a jail it may get an error.
var stricter = []string{"half", "many-counted", "loop", "pointer-outside", "cut-with-half"}

// quick are those that no client waits after.
var quick = []string{
	"twice", "cut", "wrong-id-first", "wrong-question", "junk-first", "question-first", "nxdomain", "nothing",
	"alias-loop", "alias-of-itself", "another-name", "64k",
}

// TestUgly has servers answer in every wrong way. A program gets what it gets
// natively: the addresses, or an error. Afterwards the resolver still works.
func TestUgly(t *testing.T) {
	for _, name := range append(quick, "late") {
		t.Run(name, func(t *testing.T) { compare(t, name, 30) })
	}
}

// TestSilent is TestUgly where a client waits until it gives up.
func TestSilent(t *testing.T) {
	const timeout = 3
	configure(t, "/etc/resolv.conf", fmt.Sprintf("nameserver %s\noptions timeout:%d attempts:1\n", dnsServer, timeout))
	var all sync.WaitGroup
	atOnce := make(chan struct{}, 6)
	for _, list := range []map[string]handler{ugly, silent} {
		for name := range list {
			if slices.Contains(quick, name) {
				continue
			}
			all.Go(func() {
				atOnce <- struct{}{}
				defer func() { <-atOnce }()
				compare(t, name, timeout)
			})
		}
	}
	all.Wait()
}

// compare has every resolver look up an ugly name and then one that is well,
// natively and in a jail.
func compare(t *testing.T, name string, timeout int) {
	x := newTrial(t)
	ugly := name + uglyDomain
	dig := []string{"dig", "+short", "+tries=1", fmt.Sprintf("+time=%d", timeout), ugly, well}
	e2etest.Need(t, "dig")
	var all sync.WaitGroup
	for client, args := range map[string][]string{
		"glibc":   {glibcClient(t), "lookup", ugly, well},
		"musl":    {muslClient(t), "lookup", ugly, well},
		"Go":      {goClient(t), "lookup", ugly, well},
		"dig":     dig,
		"dig TCP": append([]string{"dig", "+tcp"}, dig[1:]...),
	} {
		all.Go(func() {
			var why string
			for range 3 { // the clients' own timeouts are short for a slow machine
				if why = x.differs(name, args); why == "" {
					return
				}
			}
			t.Errorf("%s, %s: %s", name, client, why)
		})
	}
	all.Wait()
}

const well = "a.example.org"

// differs says in what a program that looks names up fares differently in a
// jail. There it may get the right answer where natively it gets none.
func (x *trial) differs(name string, args []string) string {
	var want, got e2etest.Result
	var native, jailed []string
	var both sync.WaitGroup
	both.Go(func() { want, native = x.lookup(x.native(args...)) })
	both.Go(func() {
		got, jailed = x.lookup(x.h.Command(append([]string{"--no-prompt", "--allow", ".ugly.org", "--allow", well, "--"}, args...)...))
	})
	both.Wait()
	switch {
	case !slices.Contains(native, "198.51.100.1"):
		return fmt.Sprintf("without netjail: %+v, want the second name to be found", want)
	case slices.Equal(jailed, native):
		return ""
	case slices.Equal(jailed, []string{"198.51.100.1", "198.51.100.31", "198.51.100.32"}): // the right answer
		return ""
	case slices.Contains(stricter, name) && slices.Equal(jailed, []string{"198.51.100.1"}):
		return ""
	}
	return fmt.Sprintf("code %d, printed:\n%s%s\nwithout netjail: code %d, printed:\n%s%s",
		got.Code, clip(got.Stdout), got.Stderr, want.Code, clip(want.Stdout), want.Stderr)
}

// TestAnotherName has a server name an address by the way. Programs believe it;
// a jail does not.
func TestAnotherName(t *testing.T) {
	x := newTrial(t)
	const name = "another-name" + uglyDomain
	for _, client := range []string{goClient(t), muslClient(t)} {
		bare := x.bare(t, client, "fetch", name, "80")
		bare.succeeded(t, name)
		bare.onlyArrived(t, "198.51.100.66")
		got := x.jailed(t, allow(name), client, "fetch", name, "80")
		got.failed(t)
		got.onlyAsked(t, name)
		got.onlyArrived(t)
		got.hinted(t, client, "connect tcp://198.51.100.66:80")
	}
}

// lookup runs a program that looks names up, and returns the addresses that it
// prints, sorted.
func (x *trial) lookup(cmd *exec.Cmd) (r e2etest.Result, addrs []string) {
	r = x.h.Finish(cmd)
	for _, field := range strings.Fields(r.Stdout) {
		if _, err := netip.ParseAddr(field); err == nil {
			addrs = append(addrs, field)
		}
	}
	slices.Sort(addrs)
	return r, addrs
}

func clip(s string) string { return s[:min(len(s), 500)] }
