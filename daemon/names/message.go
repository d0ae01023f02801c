package names

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

const headerLen = 12

// The bits of the third and fourth byte that are used here.
const (
	flagQR, flagTC, flagRD = 0x80, 0x02, 0x01 // third
	flagRA, flagCD         = 0x80, 0x10       // fourth
	opcodeMask             = 0x78             // third
	rcodeMask              = 0x0f             // fourth
)

// Why something is not a query that can be forwarded.
var (
	errNoQuery = errors.New("not a query") // servers do not answer these
	errOpcode  = errors.New("not a standard query")
	errFormat  = errors.New("malformed query")
)

// packet is a query as it came.
type packet struct {
	Query
	raw      []byte
	question int    // where the question ends
	opt      []byte // the EDNS record, as long as the query had one
}

func (p *packet) id() uint16 { return binary.BigEndian.Uint16(p.raw) }

// asked is the question as it came.
func (p *packet) asked() []byte { return p.raw[headerLen:p.question] }

// ParseQuery reads what a message asks, and its id. The caller knows the
// server.
func ParseQuery(raw []byte) (Query, uint16, error) {
	p, err := parseQuery(raw)
	if err != nil {
		return Query{}, 0, err
	}
	return p.Query, p.id(), nil
}

// parseQuery insists on one question, spelled out: all that a server could read
// differently than the policy did is an error.
func parseQuery(raw []byte) (*packet, error) {
	if len(raw) < headerLen || raw[2]&flagQR != 0 {
		return nil, errNoQuery
	}
	if raw[2]&opcodeMask != 0 {
		return nil, errOpcode
	}
	if count(raw, 0) != 1 {
		return nil, errFormat
	}
	end, pointer, err := skipName(raw, headerLen)
	if err != nil || pointer || end+4 > len(raw) {
		return nil, errFormat
	}
	name, off, err := dns.UnpackDomainName(raw, headerLen)
	if err != nil || off != end {
		return nil, errFormat
	}
	p := &packet{raw: raw, question: end + 4}
	p.Name = canonical(name)
	p.spelling = spelling(raw[headerLen:end])
	p.Type = binary.BigEndian.Uint16(raw[end:])
	p.Class = binary.BigEndian.Uint16(raw[end+2:])
	if p.opt, err = findOPT(raw, p.question); err != nil {
		return nil, errFormat
	}
	return p, nil
}

func canonical(name string) string {
	if name == "." {
		return name
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// spelling counts the letters of a name that is not all in one case: somebody
// who chose the case of each may have said something.
func spelling(name []byte) int {
	var upper, lower int
	for _, c := range name {
		switch {
		case 'A' <= c && c <= 'Z':
			upper++
		case 'a' <= c && c <= 'z':
			lower++
		}
	}
	if upper == 0 || lower == 0 {
		return 0
	}
	return upper + lower
}

// count returns how many records a section has: 0 is the question.
func count(raw []byte, section int) int {
	return int(binary.BigEndian.Uint16(raw[4+2*section:]))
}

// findOPT looks for the EDNS record behind the question.
func findOPT(raw []byte, off int) ([]byte, error) {
	additional := count(raw, 1) + count(raw, 2)
	for i := range additional + count(raw, 3) {
		r, err := readRecord(raw, off)
		if err != nil {
			return nil, err
		}
		if i >= additional && r.typ == dns.TypeOPT && raw[off] == 0 {
			return raw[off:r.end], nil
		}
		off = r.end
	}
	return nil, nil
}

// record is where the parts of a resource record are.
type record struct {
	owner      int
	typ, class uint16
	ttl        uint32
	data, end  int
}

func readRecord(raw []byte, off int) (record, error) {
	n, _, err := skipName(raw, off)
	if err != nil {
		return record{}, err
	}
	if n+10 > len(raw) {
		return record{}, errors.New("record is cut off")
	}
	r := record{
		owner: off,
		typ:   binary.BigEndian.Uint16(raw[n:]),
		class: binary.BigEndian.Uint16(raw[n+2:]),
		ttl:   binary.BigEndian.Uint32(raw[n+4:]),
		data:  n + 10,
	}
	if r.end = r.data + int(binary.BigEndian.Uint16(raw[n+8:])); r.end > len(raw) {
		return record{}, errors.New("data is cut off")
	}
	return r, nil
}

// skipName returns where a name ends, and whether it ends with a pointer to the
// rest of it.
func skipName(raw []byte, off int) (end int, pointer bool, err error) {
	for off < len(raw) {
		switch c := int(raw[off]); {
		case c == 0:
			return off + 1, false, nil
		case c >= 0xc0:
			if off+2 > len(raw) {
				return 0, false, errors.New("pointer is cut off")
			}
			return off + 2, true, nil
		case c > 63:
			return 0, false, fmt.Errorf("label of type %#x", c&0xc0)
		default:
			off += 1 + c
		}
	}
	return 0, false, errors.New("name is cut off")
}

// answers says whether raw is the answer to a question. Servers may spell the
// name differently, and may leave the question out when they have nothing to
// say but what is wrong.
func answers(raw []byte, id uint16, question []byte) bool {
	if len(raw) < headerLen || raw[2]&flagQR == 0 || binary.BigEndian.Uint16(raw) != id {
		return false
	}
	switch count(raw, 0) {
	case 0:
		return count(raw, 1) == 0 && raw[3]&rcodeMask != dns.RcodeSuccess
	case 1:
		return sameQuestion(raw[headerLen:], question)
	}
	return false
}

// sameQuestion compares the beginning of raw with a question. No length of a
// label looks like a letter.
func sameQuestion(raw, question []byte) bool {
	if len(raw) < len(question) {
		return false
	}
	name := len(question) - 4
	for i, c := range question[:name] {
		if lower(raw[i]) != lower(c) {
			return false
		}
	}
	return string(raw[name:len(question)]) == string(question[name:])
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// reply makes an answer without records, as a resolver would give it: not
// authoritative, recursion available.
func (p *packet) reply(rcode byte) []byte {
	raw := make([]byte, 0, p.question+64)
	raw = append(raw, p.raw[:p.question]...)
	raw[2] = flagQR | raw[2]&(opcodeMask|flagRD)
	raw[3] = flagRA | raw[3]&flagCD | rcode
	copy(raw[4:], []byte{0, 1, 0, 0, 0, 0, 0, 0})
	return raw
}

// blocked is the answer that the policy denied: REFUSED or NXDOMAIN, with the
// reason for those who speak EDNS (RFC 8914, 15: Blocked).
func (p *packet) blocked(rcode byte) []byte {
	const why = "netjail"
	return p.edns(p.reply(rcode), []byte{0, 15, 0, 2 + byte(len(why)), 0, 15}, why)
}

// fail is the answer that there will be none.
func (p *packet) fail() []byte { return p.edns(p.reply(dns.RcodeServerFailure), nil, "") }

// edns appends an OPT record to an answer if the query had one (RFC 6891,
// 7: "If an OPT record is present in a received request, compliant responders
// MUST include an OPT record").
func (p *packet) edns(raw, option []byte, text string) []byte {
	if p.opt == nil {
		return raw
	}
	raw[11] = 1
	do := p.opt[7] & 0x80
	raw = append(raw, 0, 0, byte(dns.TypeOPT), 1232>>8, 1232&0xff, 0, 0, do, 0, 0, byte(len(option)+len(text)))
	return append(append(raw, option...), text...)
}

// local is the answer with one record, or that there is none of that type.
func (p *packet) local(data []byte) []byte {
	raw := p.reply(dns.RcodeSuccess)
	if len(data) > 0 {
		raw[7] = 1
		raw = append(raw, 0xc0, headerLen, byte(p.Type>>8), byte(p.Type), 0, dns.ClassINET, 0, 0, 0, 0, 0, byte(len(data)))
		raw = append(raw, data...)
	}
	return p.edns(raw, nil, "")
}

// trouble answers what is not a query that can be forwarded, or returns nil.
func trouble(raw []byte, err error) []byte {
	rcode := byte(dns.RcodeFormatError)
	switch {
	case errors.Is(err, errNoQuery):
		return nil
	case errors.Is(err, errOpcode):
		rcode = dns.RcodeNotImplemented
	}
	return []byte{raw[0], raw[1], flagQR | raw[2]&(opcodeMask|flagRD), flagRA | rcode, 0, 0, 0, 0, 0, 0, 0, 0}
}

// Invalid returns a query with the same id that asks for the name "invalid.",
// which never exists (RFC 6761, 6.4). A program that gets the answer from the
// server itself has no wait, and nothing else of what it asked leaves: type and
// flags could say anything, too. It returns nil for what is not a query.
func Invalid(query []byte) []byte {
	p, err := parseQuery(query)
	if err != nil {
		return nil
	}
	raw := append([]byte{p.raw[0], p.raw[1], flagRD, 0, 0, 1, 0, 0, 0, 0, 0, 0}, "\x07invalid\x00"...)
	return append(raw, 0, byte(dns.TypeA), 0, dns.ClassINET)
}
