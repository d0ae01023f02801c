package tui

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"
)

// nasty is text that would change a screen that shows it as it is.
const nasty = "\x1b[2J\x1b]0;x\a\r\n\t\u202eevil\u202c\u200b\u0085\u009b31m日本語の名前日本語の名前\xff" + "a\u0301\u0301\u0301\u0301\u0301\u0301\U0001f469\u200d\U0001f4bb"

// TestHostileText shows what programs say without doing what it says.
func TestHostileText(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {40, 10}, {41, 11}, {200, 60}} {
		d := newDesk(t, size[0], size[1])
		q := curlAsks(t)
		q.App, q.Exe, q.Command, q.Names, q.Chain, q.Note = nasty, nasty, nasty, []string{nasty}, []string{nasty, nasty}, nasty
		q.Title, q.Package = nasty, nasty
		d.ask(q)
		d.put(Connections, Contents{Note: nasty, Flows: []Flow{{ID: nasty, App: nasty, Jail: nasty, Network: nasty, State: nasty, Program: nasty, Names: []string{nasty},
			Remote: netip.MustParseAddrPort("[fe80::1%eth0]:443")}}})
		d.put(Rules, Contents{Rules: []Rule{{nasty, nasty, nasty, nasty, nasty, nasty, nasty, nasty}}})
		d.put(History, Contents{Events: []Event{{noon, nasty, nasty, nasty, nasty, nasty, nasty, nasty, []string{nasty}}}})
		d.put(Jails, Contents{Jails: []Jail{{nasty, nasty, nasty, nasty, 1, noon}}})
		for _, keys := range [][]string{{"Down"}, {"x"}, {"n"}, {"K"}, {"n"}, {"2"}, {"x"}, {"n"}, {"3"}, {"4"}, {"K"}, {"n"}, {"s"}} {
			d.press(keys...)
			checkScreen(t, d)
		}
		d.happen(lost{fmt.Errorf("%s", nasty)}, done{said: nasty}, looked{view: Jails, err: fmt.Errorf("%s", nasty)})
		checkScreen(t, d)
	}
}

// checkScreen fails if there is something on it that is not to be seen.
func checkScreen(t *testing.T, d *desk) {
	t.Helper()
	for _, line := range d.lines() {
		for _, r := range line {
			if !unicode.IsPrint(r) && !unicode.IsMark(r) {
				t.Fatalf("%U is on the screen: %q", r, line)
			}
		}
	}
}

// TestLongNames shows all of a name that is as long as names can be: what
// matters of it is its end.
func TestLongNames(t *testing.T) {
	name := strings.Repeat(strings.Repeat("a", 40)+".", 3) + "evil.example"
	q := curlAsks(t)
	q.Dest = dest(t, "tcp://"+name+":443")
	q.Names = []string{name}
	d := newDesk(t, 80, 24)
	d.ask(q)
	text := strings.ReplaceAll(strings.ReplaceAll(d.text(), "\n", ""), " ", "")
	if want := strings.ReplaceAll("A writes: netjail rules add curl allow tcp://"+name+":443", " ", ""); !strings.Contains(text, want) {
		t.Errorf("the rule is not shown whole:\n%s", d.text())
	}
	d.wants("evil.example port 443")
}

// TestSizes draws on screens of every size.
func TestSizes(t *testing.T) {
	d := busy(t, 80, 24)
	d.ask(curlAsks(t), pythonAsks(t), firefoxAsks(t, 30))
	for _, keys := range []string{"1", "2", "3", "4", "?"} {
		d.press(keys)
		for w := range 100 {
			d.resize(w, 24)
			d.resize(80, max(0, w/2))
			d.resize(w, w/3)
			d.press("Down")
		}
		d.mode = normal
	}
}

func manyFlows(n int) []Flow {
	flows := make([]Flow, n)
	for i := range flows {
		flows[i] = Flow{
			ID: fmt.Sprint("flow", i), App: fmt.Sprint("app", i%20), Jail: fmt.Sprint("jail", i%25), Network: "tcp",
			Local:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), uint16(i)),
			Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), 443),
			Names:  []string{fmt.Sprintf("host%d.example.org", i*7919%n)}, State: "ESTABLISHED", PID: 1000 + i%50, Program: "worker",
			Since: noon.Add(-time.Duration(i) * time.Second), Sent: uint64(i * 1000), Received: uint64(i * 7777), Known: true,
		}
	}
	return flows
}

// TestManyConnections goes through ten thousand.
func TestManyConnections(t *testing.T) {
	d := newDesk(t, 80, 24)
	d.put(Connections, Contents{Flows: manyFlows(10_000)})
	d.press("End")
	d.wants("10000 connections")
	if l := &d.lists[Connections]; l.at != 10_019 || l.top != l.at-d.layout().rows+1 {
		t.Errorf("row %d of %d, from %d on", l.at, len(l.rows), l.top)
	}
	d.press("/", "h", "o", "s", "t", "9", "9", "9", "9")
	d.wants("1 of 10000")
}

// BenchmarkUpdate takes in ten thousand connections and draws them.
func BenchmarkUpdate(b *testing.B) {
	for by := range orders {
		for _, filter := range []string{"", "host99"} {
			b.Run(orderNames[by]+filter, func(b *testing.B) {
				d := newDesk(b, 80, 24)
				flows := manyFlows(10_000)
				d.order = by
				d.put(Connections, Contents{Flows: flows})
				d.press("Down", "Down")
				d.lists[Connections].filter = filter
				b.ReportAllocs()
				for b.Loop() {
					d.put(Connections, Contents{Flows: flows})
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/update+draw")
			})
		}
	}
}

// BenchmarkKey goes down one of ten thousand.
func BenchmarkKey(b *testing.B) {
	d := newDesk(b, 80, 24)
	d.put(Connections, Contents{Flows: manyFlows(10_000)})
	d.ask(curlAsks(b))
	for b.Loop() {
		d.happen(pressed{"Down"})
	}
}
