package names

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// Addresses of the world.
const (
	dnsServer      = "198.51.100.53"
	dnsServer6     = "2001:db8::53"
	loopbackServer = "127.0.0.1"
	otherServer    = "198.51.100.54" // which no configuration names
)

// The servers of the world, and the other one's zone.
var (
	system = &server{}
	other  = &server{}
	web    *webServer
)

// serve starts the servers. They end with the process.
func serve() error {
	system.zone = zone
	other.zone = map[string]handler{
		"a.example.org": hasAddrs("198.51.100.11"),
		"b.example.org": hasAddrs("198.51.100.12"),
	}
	system.hosts = []string{dnsServer, dnsServer6, loopbackServer}
	other.hosts = []string{otherServer}
	for _, s := range []*server{system, other} {
		for _, host := range s.hosts {
			if err := s.listen(host); err != nil {
				return err
			}
		}
		// New addresses may not work at once.
		if err := s.settle(); err != nil {
			return err
		}
	}
	return serveWeb()
}

// handler answers one question.
type handler func(*question)

// question is one that a server was asked.
type question struct {
	dnsmessage.Question
	id   uint16
	head dnsmessage.Header
	edns bool
	do   bool   // wants signatures, RFC 3225
	name string // in lower case, without the final dot
	size int    // of the largest answer that fits
	tcp  bool
	send func([]byte)

	hangUp func() // over TCP
}

// server is a DNS server that keeps a list of what it was asked.
type server struct {
	zone  map[string]handler
	hosts []string // where it listens

	mu    sync.Mutex
	asked []string // names, "?" for what is no query
	conns int      // open
	marks int
}

func (s *server) listen(host string) error {
	at := net.JoinHostPort(host, "53")
	p, err := net.ListenPacket("udp", at)
	if err != nil {
		return err
	}
	_ = p.(*net.UDPConn).SetReadBuffer(1 << 20)
	l, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	go s.receive(p)
	go s.accept(l)
	return nil
}

func (s *server) receive(p net.PacketConn) {
	buf := make([]byte, 65535)
	for {
		n, from, err := p.ReadFrom(buf)
		if err != nil {
			continue // a client was gone
		}
		s.handle(buf[:n], func(b []byte) { _, _ = p.WriteTo(b, from) }, nil)
	}
}

func (s *server) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			continue
		}
		s.mu.Lock()
		s.conns++
		s.mu.Unlock()
		go func() {
			defer func() {
				c.Close()
				s.mu.Lock()
				s.conns--
				s.mu.Unlock()
			}()
			s.converse(c)
		}()
	}
}

func (s *server) converse(c net.Conn) {
	var head [2]byte
	for {
		_ = c.SetDeadline(time.Now().Add(e2etest.Patience))
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		raw := make([]byte, binary.BigEndian.Uint16(head[:]))
		if _, err := io.ReadFull(c, raw); err != nil {
			return
		}
		s.handle(raw, func(b []byte) {
			_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
		}, func() { c.Close() })
	}
}

// mark is the end of the names by which the list is brought up to date.
const mark = ".mark.invalid"

func (s *server) handle(raw []byte, send func([]byte), hangUp func()) {
	tcp := hangUp != nil
	q, err := parse(raw)
	s.mu.Lock()
	switch {
	case err != nil:
		s.asked = append(s.asked, "?")
	case !strings.HasSuffix(q.name, mark):
		s.asked = append(s.asked, q.name)
	}
	s.mu.Unlock()
	if err != nil {
		return
	}
	q.tcp, q.send, q.hangUp = tcp, send, hangUp
	if tcp {
		q.size = 65535
	}
	h := s.zone[q.name]
	if _, rest, ok := strings.Cut(q.name, "."); h == nil && ok {
		h = s.zone["*."+rest]
	}
	if h == nil {
		h = fails(dnsmessage.RCodeNameError)
	}
	h(q)
}

func parse(raw []byte) (*question, error) {
	var p dnsmessage.Parser
	head, err := p.Start(raw)
	if err != nil {
		return nil, err
	}
	list, err := p.AllQuestions()
	if err != nil || len(list) != 1 || head.Response || head.OpCode != 0 {
		return nil, fmt.Errorf("no query: %w", err)
	}
	q := &question{Question: list[0], id: head.ID, head: head, size: 512}
	q.name = strings.TrimSuffix(strings.ToLower(q.Name.String()), ".")
	if err := errors.Join(p.SkipAllAnswers(), p.SkipAllAuthorities()); err != nil {
		return nil, err
	}
	for {
		h, err := p.AdditionalHeader()
		if err != nil {
			break
		}
		if h.Type == dnsmessage.TypeOPT {
			q.size = max(q.size, int(h.Class))
			q.edns, q.do = true, h.DNSSECAllowed()
		}
		if err := p.SkipAdditional(); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// reset forgets what was asked.
func (s *server) reset(t *testing.T) {
	t.Helper()
	s.names(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = nil
}

// names returns the names that were asked for up to now, sorted and each once.
// On loopback nothing overtakes, so it asks for a name that comes last.
func (s *server) names(t *testing.T) []string {
	t.Helper()
	if err := s.settle(); err != nil {
		t.Fatalf("the DNS server does not answer: %v", err)
	}
	e2etest.WaitFor(t, "the connections to the DNS server end", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.conns == 0
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Compact(slices.Sorted(slices.Values(s.asked)))
}

// settle waits until all that was asked before is in the list.
func (s *server) settle() error {
	for _, host := range s.hosts {
		for _, network := range []string{"udp", "tcp"} {
			if err := s.sync(network, host); err != nil {
				return fmt.Errorf("%s over %s: %w", host, network, err)
			}
		}
	}
	return nil
}

// sync asks for a name, until that is answered: a queue may be full.
func (s *server) sync(network, host string) error {
	s.mu.Lock()
	s.marks++
	name := fmt.Sprintf("%d%s.", s.marks, mark)
	s.mu.Unlock()
	m := dnsmessage.Message{Questions: []dnsmessage.Question{
		{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	raw, err := m.Pack()
	if err != nil {
		return err
	}
	if network == "tcp" {
		raw = append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...)
	}
	for end := time.Now().Add(e2etest.Patience); ; {
		err := exchange(network, net.JoinHostPort(host, "53"), raw)
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

func exchange(network, addr string, raw []byte) error {
	c, err := net.Dial(network, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write(raw); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 600))
	return err
}

// answer is a message that answers q.
type answer struct {
	rcode   dnsmessage.RCode
	records []dnsmessage.Resource
	id      uint16
	cut     bool // say so
}

func (q *question) message(a answer) []byte {
	m := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: a.id, Response: true, RecursionDesired: true, RecursionAvailable: true, RCode: a.rcode, Truncated: a.cut,
		},
		Questions: []dnsmessage.Question{q.Question}, Answers: a.records,
	}
	raw, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return raw
}

// reply sends records, or says that they do not fit.
func (q *question) reply(records ...dnsmessage.Resource) {
	raw := q.message(answer{id: q.id, records: records})
	if len(raw) > q.size {
		raw = q.message(answer{id: q.id, cut: true})
	}
	q.send(raw)
}

// header is the one of a record.
func header(name string, ttl uint32) dnsmessage.ResourceHeader {
	return dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name + "."), Class: dnsmessage.ClassINET, TTL: ttl}
}

// records are those of addresses that have the question's type.
func (q *question) records(name string, ttl uint32, addrs ...netip.Addr) (list []dnsmessage.Resource) {
	for _, a := range addrs {
		r := dnsmessage.Resource{Header: header(name, ttl)}
		switch {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			r.Body = &dnsmessage.AResource{A: a.As4()}
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			r.Body = &dnsmessage.AAAAResource{AAAA: a.As16()}
		default:
			continue
		}
		list = append(list, r)
	}
	return list
}

func (q *question) alias(name, target string) dnsmessage.Resource {
	return dnsmessage.Resource{Header: header(name, 60), Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(target + ".")}}
}

func parseAddrs(texts []string) (list []netip.Addr) {
	for _, text := range texts {
		list = append(list, netip.MustParseAddr(text))
	}
	return list
}

// hasAddrs answers with addresses.
func hasAddrs(texts ...string) handler {
	addrs := parseAddrs(texts)
	return func(q *question) { q.reply(q.records(q.name, 60, addrs...)...) }
}

// leadsTo answers with an alias, and its addresses.
func leadsTo(target string, texts ...string) handler {
	addrs := parseAddrs(texts)
	return func(q *question) {
		q.reply(append([]dnsmessage.Resource{q.alias(q.name, target)}, q.records(target, 60, addrs...)...)...)
	}
}

func fails(code dnsmessage.RCode) handler {
	return func(q *question) { q.send(q.message(answer{id: q.id, rcode: code})) }
}

// webServer answers hello on port 80 of every address.
type webServer struct {
	mu sync.Mutex
	at []string // the addresses that were connected to
}

func serveWeb() error {
	web = new(webServer)
	l, err := net.Listen("tcp", ":80")
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				continue
			}
			at := c.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
			web.mu.Lock()
			web.at = append(web.at, at.String())
			web.mu.Unlock()
			go e2etest.Hello(c)
		}
	}()
	return nil
}

// lastAddr is where the web server is connected to by itself.
const lastAddr = "127.0.0.99"

// reset forgets what has arrived.
func (w *webServer) reset(t *testing.T) {
	t.Helper()
	w.arrived(t)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = nil
}

// arrived returns the addresses that were connected to, in order. The server
// counts when it accepts, so it is made to accept one more, which comes last.
func (w *webServer) arrived(t *testing.T) []string {
	t.Helper()
	count := func() (all int, others []string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		others = slices.DeleteFunc(slices.Clone(w.at), func(a string) bool { return a == lastAddr })
		return len(w.at) - len(others), others
	}
	before, _ := count()
	c, err := net.Dial("tcp", lastAddr+":80")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	e2etest.WaitFor(t, "the web server counts", func() bool {
		all, _ := count()
		return all > before
	})
	_, others := count()
	return others
}
