package blocklist

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"unicode/utf8"
)

// reader takes the lines of one list, in whichever format each is written: no
// line of one format means something else in another.
type reader struct {
	add     func(name []byte, exception bool) // name is the reader's, until the next
	adblock bool                              // the list says of itself that it is for browsers
	skipped int

	name   []byte // scratch
	addr   []byte // the address of the hosts line before this one
	blocks bool   // it is one that stands for "nowhere"
}

// line takes one line. What it says is added or counted as skipped; an error
// means that it is nothing known.
func (r *reader) line(b []byte) error {
	b = bytes.TrimSpace(b)
	if len(b) == 0 || b[0] == '#' || b[0] == '!' {
		return nil
	}
	if !isText(b) {
		return errors.New("not text: a list is UTF-8 without control characters")
	}
	switch {
	case b[0] == '[' && b[len(b)-1] == ']':
		r.adblock = r.adblock || isAdblockHeader(b)
		return nil
	case bytes.HasPrefix(b, []byte("||")):
		r.domainRule(b[2:], false)
		return nil
	case bytes.HasPrefix(b, []byte("@@||")):
		r.domainRule(b[4:], true)
		return nil
	case bytes.HasPrefix(b, []byte("@@")), b[0] == '/', isCosmetic(b):
		r.skipped++
		return nil
	}
	if i := bytes.IndexByte(b, '#'); i > 0 {
		b = bytes.TrimSpace(b[:i])
	}
	if first, rest := cutSpace(b); len(rest) > 0 {
		return r.hosts(first, rest)
	}
	return r.plain(b)
}

func isText(b []byte) bool {
	ascii := true
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	return ascii || utf8.Valid(b)
}

func isAdblockHeader(b []byte) bool {
	for _, word := range []string{"adblock", "adguard", "ublock"} {
		if n := len(word); len(b) > n && bytes.EqualFold(b[1:1+n], []byte(word)) {
			return true
		}
	}
	return false
}

// isCosmetic says whether a line hides parts of pages: a list of sites without
// a space in it, and a separator.
func isCosmetic(b []byte) bool {
	i := bytes.IndexAny(b, "# \t")
	if i < 0 || b[i] != '#' || i+1 == len(b) {
		return false
	}
	return bytes.IndexByte([]byte("#@?$%"), b[i+1]) >= 0
}

func cutSpace(b []byte) (first, rest []byte) {
	i := bytes.IndexAny(b, " \t")
	if i < 0 {
		return b, nil
	}
	return b[:i], bytes.TrimSpace(b[i:])
}

// hosts takes "0.0.0.0 name [name...]". A hosts file also holds the machine's
// own names and those of the neighbours, which nobody means to block.
func (r *reader) hosts(addr, names []byte) error {
	if !bytes.Equal(addr, r.addr) {
		a, err := netip.ParseAddr(string(addr))
		if err != nil {
			return r.unknown(append(append(addr[:len(addr):len(addr)], ' '), names...))
		}
		r.addr = append(r.addr[:0], addr...)
		r.blocks = a.WithZone("").IsUnspecified() || a.IsLoopback()
	}
	if !r.blocks {
		r.skipped++
		return nil
	}
	for len(names) > 0 {
		var name []byte
		name, names = cutSpace(names)
		if !r.take(name, false) {
			r.skipped++
		}
	}
	return nil
}

// take adds a name that has a dot in it.
func (r *reader) take(name []byte, exception bool) bool {
	var err error
	r.name, err = appendName(r.name[:0], name)
	if err != nil || bytes.IndexByte(r.name, '.') < 0 || isOwn(r.name) {
		return false
	}
	r.add(r.name, exception)
	return true
}

// isOwn says whether a name is this machine's wherever it is asked.
func isOwn(name []byte) bool {
	for _, own := range []string{"localhost", "localdomain"} {
		if rest, ok := bytes.CutSuffix(name, []byte(own)); ok && (len(rest) == 0 || rest[len(rest)-1] == '.') {
			return true
		}
	}
	return false
}

// domainRule takes what follows || in "||name^$options".
func (r *reader) domainRule(b []byte, exception bool) {
	b, rest := cutSpace(b)
	b, options, limited := bytes.Cut(b, []byte("$"))
	if len(rest) > 0 && rest[0] != '#' || limited && !general(options, exception) {
		r.skipped++
		return
	}
	b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("|")), []byte("^"))
	b = bytes.TrimPrefix(b, []byte("*."))
	var err error
	r.name, err = appendName(r.name[:0], b)
	if err != nil || isOwn(r.name) {
		r.skipped++
		return
	}
	r.add(r.name, exception)
}

// general says whether a rule with these options speaks of a name as a whole.
// Who the third party of a connection is cannot be seen here, and for all but
// browsers everybody is one. An exception that holds for part of the traffic
// must not open all of it.
func general(options []byte, exception bool) bool {
	for o := range bytes.SplitSeq(options, []byte(",")) {
		switch string(o) {
		case "important":
		case "all", "document", "doc", "third-party", "3p":
			if exception {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// plain takes a line of one word: a name, or *.name, or .name.
func (r *reader) plain(b []byte) error {
	name := bytes.TrimPrefix(bytes.TrimPrefix(b, []byte("*")), []byte("."))
	if r.take(name, false) {
		return nil
	}
	if isAddress(b) || isOddName(b) || isPattern(b) {
		r.skipped++
		return nil
	}
	return r.unknown(b)
}

// unknown is the end of a list, unless it is one for browsers: of those it is
// known that they hold rules of every shape.
func (r *reader) unknown(b []byte) error {
	if r.adblock {
		r.skipped++
		return nil
	}
	what := errNoName.Error()
	if r.name, _ = appendName(r.name[:0], b); bytes.IndexByte(b, '.') < 0 && len(r.name) == len(b) {
		what = "no dot in it (a whole top-level domain is written ||name^)"
	}
	return fmt.Errorf("%q is no line of a hosts file, a list of names or an adblock list: %s", clip(string(b)), what)
}

func isAddress(b []byte) bool {
	if _, err := netip.ParseAddr(string(b)); err == nil {
		return true
	}
	_, err := netip.ParsePrefix(string(b))
	return err == nil
}

// isOddName says whether a word is meant as a name that DNS cannot know, such
// as one with an empty label. Long lists have some, and lose nothing with them.
func isOddName(b []byte) bool {
	for _, c := range b {
		if c != '.' && c < utf8.RuneSelf && !isNameByte(fold(c)) {
			return false
		}
	}
	return bytes.IndexByte(b, '.') >= 0
}

// isPattern says whether a word is a rule about addresses of pages.
func isPattern(b []byte) bool {
	return bytes.ContainsAny(b, "^|*/&=?~$:") && !bytes.ContainsAny(b, "<>{}\"`")
}
