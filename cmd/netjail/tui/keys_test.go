package tui

import (
	"slices"
	"strings"
	"testing"

	"github.com/netjail/netjail/notifier"
)

// TestKeysDocumented has every key do one thing in each mode, and every key of
// the normal one in the help.
func TestKeysDocumented(t *testing.T) {
	seen := make(map[mode]map[string]bool)
	for in := range anyMode {
		seen[in] = make(map[string]bool)
	}
	for _, b := range bindings() {
		modes := []mode{b.mode}
		if b.mode == anyMode {
			modes = []mode{normal, filtering, confirming, helping}
		}
		for _, key := range strings.Fields(b.keys) {
			for _, in := range modes {
				if seen[in][key] {
					t.Errorf("%s has two meanings in mode %d", key, in)
				}
				seen[in][key] = true
			}
		}
		if inHelp := b.mode == normal || b.mode == anyMode; inHelp != (b.help != "") || inHelp != slices.Contains(parts, b.part) {
			t.Errorf("%s: help %q, part %q", b.keys, b.help, b.part)
		}
		if n := len(b.help); n > helpColumn-15 {
			t.Errorf("%s: help of %d characters", b.keys, n)
		}
		if b.foot == nil && (b.mode == confirming || b.part == "" && b.keys == "Enter") {
			t.Errorf("%s is nowhere to be read", b.keys)
		}
	}
	for key := range seen[normal] {
		if key == "Backtab" {
			key = "Shift-Tab"
		}
		n := 0
		for _, line := range strings.Split(Keys(), "\n") {
			if len(line) > 14 && strings.HasPrefix(line, "  ") && slices.Contains(strings.Fields(line[:14]), key) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s is in the help %d times", key, n)
		}
	}
}

// TestFooterFits has nothing cut off at 80 columns, whatever can be done.
func TestFooterFits(t *testing.T) {
	for _, questions := range [][]notifier.Question{
		nil, {curlAsks(t)}, {pythonAsks(t)}, {firefoxAsks(t, 3)}, {curlAsks(t), firefoxAsks(t, 3)},
	} {
		for _, keys := range [][]string{nil, {"Down"}, {"2"}, {"3"}, {"4"}, {"/", "f"}, {"Down", "x"}, {"?"}} {
			d := busy(t, 80, 24)
			d.ask(questions...)
			d.press(keys...)
			foot := d.layout().foot
			if d.mode == helping {
				foot = 23
			}
			for _, line := range d.lines()[foot:] {
				if strings.Contains(line, "…") {
					t.Errorf("%d questions, %v: the footer is cut off: %s", len(questions), keys, line)
				}
			}
		}
	}
}

// TestFooterTrue has each key of the footer do something.
func TestFooterTrue(t *testing.T) {
	for _, keys := range [][]string{nil, {"Down"}, {"2"}, {"3"}, {"4"}, {"/", "f"}, {"Down", "x"}, {"?"}} {
		d := busy(t, 80, 24)
		d.ask(curlAsks(t))
		d.press(keys...)
		for _, k := range d.footKeys(d.mode) {
			d := busy(t, 80, 24)
			d.ask(curlAsks(t))
			d.press(keys...)
			d.press(k.key)
			if strings.HasPrefix(d.notice.text, k.key+": ") {
				t.Errorf("%v: %s", keys, d.notice.text)
			}
		}
	}
}
