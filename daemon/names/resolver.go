package names

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Limits on what a jail may make its resolver do at once. What is over them is
// not answered, or answered SERVFAIL.
const (
	maxInFlight    = 256
	maxConns       = 128
	defaultTimeout = 10 * time.Second
)

// Config is what a Resolver needs to know.
type Config struct {
	Policy Policy // nil refuses everything
	Map    *Map   // nil remembers nothing

	// Meter counts what is forwarded; nil does not, and no query is a tunnel.
	Meter *Meter

	// Upstreams lists the system's servers; nil: those in /etc/resolv.conf.
	Upstreams func() []netip.AddrPort

	// Trusted says from which servers names are believed; nil: the system's.
	// A server that the program chose says what the program wants.
	Trusted func(netip.AddrPort) bool

	// Owner says whether a datagram socket of which nobody has said whose it is, see
	// Expect, is the jail's all the same. It asks the first of the system's servers.
	// Nil: it is not.
	Owner func(local netip.AddrPort) bool

	// Learned is told of addresses whose name has become known, before the program
	// is; nil: nobody is.
	Learned func([]netip.Addr)

	// Found is told of each query that was answered with records; nil: nobody is.
	Found func(Query)

	// Canaries are the names that switch off the resolvers that programs bring
	// along. By default they are answered so that programs do that.
	PassCanaries bool

	// UDP and TCP are where to serve; the resolver owns them. None: it listens on
	// loopback by itself. Those of another network namespace serve a jail that is
	// in it, while what they are asked is forwarded from here.
	UDP []*net.UDPConn
	TCP []*net.TCPListener

	// Timeout is how long a server may take to answer, 10 s by default.
	// Programs give up before, and ask again.
	Timeout time.Duration

	Log *slog.Logger // nil discards
}

// Resolver serves one jail on loopback.
type Resolver struct {
	cfg     Config
	log     *slog.Logger
	clients clients
	sockets sockets
	slots   chan struct{}
	conns   chan struct{}

	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	used   bool // somebody was led here
	addrs  map[endpoint]netip.AddrPort
	open   map[io.Closer]struct{} // what Close closes

	asking sync.Mutex
	asked  map[retry]struct{} // what the policy is deciding about
}

// endpoint is one of the addresses of a resolver. Its host is that of a server,
// or invalid.
type endpoint struct {
	tcp, ip6 bool
	host     netip.Addr
}

// New makes a resolver. It does nothing until it is used, but serve where it is
// told to.
func New(cfg Config) *Resolver {
	if cfg.Policy == nil {
		cfg.Policy = func(context.Context, Query) Decision { return Refuse }
	}
	if cfg.Map == nil {
		cfg.Map = new(Map)
	}
	if cfg.Upstreams == nil {
		cfg.Upstreams = Servers("/etc/resolv.conf")
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	r := &Resolver{
		cfg: cfg, log: cfg.Log,
		slots:   make(chan struct{}, maxInFlight),
		conns:   make(chan struct{}, maxConns),
		sockets: sockets{timeout: cfg.Timeout},
		addrs:   make(map[endpoint]netip.AddrPort),
		open:    make(map[io.Closer]struct{}),
		asked:   make(map[retry]struct{}),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range cfg.UDP {
		at := c.LocalAddr().(*net.UDPAddr).AddrPort()
		r.addrs[endpoint{ip6: at.Addr().Is6()}] = at
		r.serveLocked(c, func() { r.receive(c) })
	}
	for _, l := range cfg.TCP {
		at := l.Addr().(*net.TCPAddr).AddrPort()
		r.addrs[endpoint{tcp: true, ip6: at.Addr().Is6()}] = at
		r.serveLocked(l, func() { r.accept(l) })
	}
	return r
}

// serveLocked has something served until Close closes it.
func (r *Resolver) serveLocked(c io.Closer, serve func()) {
	r.open[c] = struct{}{}
	r.tasks.Go(serve)
}

// Addr returns where to lead a socket of a network, "tcp" or "udp", that would
// connect to a server. It listens there from the first time on.
func (r *Resolver) Addr(network string, ip6 bool) (netip.AddrPort, error) {
	tcp, err := isTCP(network)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return r.listen(endpoint{tcp: tcp, ip6: ip6})
}

// AddrFor is Addr for a socket that would connect to this server. For one on
// this machine it has the same host: some programs look where an answer is from.
func (r *Resolver) AddrFor(network string, server netip.Addr) (netip.AddrPort, error) {
	tcp, err := isTCP(network)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if host := server.Unmap(); host.Is4() && host.IsLoopback() {
		if addr, err := r.listen(endpoint{tcp: tcp, host: host}); err == nil {
			return addr, nil
		}
	}
	return r.listen(endpoint{tcp: tcp, ip6: !server.Unmap().Is4()})
}

// Both is AddrFor for sockets of both networks, which are led to the same port.
func (r *Resolver) Both(server netip.Addr) (udp netip.AddrPort, err error) {
	const tries = 20 // a port that is free for one network may be another's for the other
	for range tries {
		if udp, err = r.AddrFor("udp", server); err != nil {
			return udp, err
		}
		var tcp netip.AddrPort
		if tcp, err = r.AddrFor("tcp", server); err != nil || tcp == udp {
			return udp, err
		}
		err = fmt.Errorf("resolver: port %d is another's for TCP", udp.Port())
		if !r.giveUp(udp, tcp) {
			break
		}
	}
	return udp, err
}

// giveUp forgets two addresses, so that others are found, if nobody was led there
// yet.
func (r *Resolver) giveUp(udp, tcp netip.AddrPort) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.used {
		return false
	}
	for at, addr := range r.addrs {
		if !at.tcp && addr == udp || at.tcp && addr == tcp {
			delete(r.addrs, at)
		}
	}
	return true
}

// At says whether a socket that is connected to an address is led here.
func (r *Resolver) At(network string, addr netip.AddrPort) bool {
	tcp, err := isTCP(network)
	if err != nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for at, here := range r.addrs {
		if at.tcp == tcp && here == addr {
			return true
		}
	}
	return false
}

func (r *Resolver) listen(at endpoint) (netip.AddrPort, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return netip.AddrPort{}, net.ErrClosed
	}
	if addr, ok := r.addrs[at]; ok {
		return addr, nil
	}
	addr, err := r.listenLocked(at)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("resolver: %w", err)
	}
	r.addrs[at] = addr
	return addr, nil
}

func isTCP(network string) (bool, error) {
	switch network {
	case "tcp":
		return true, nil
	case "udp":
		return false, nil
	}
	return false, fmt.Errorf("resolver: network %q", network)
}

func (r *Resolver) listenLocked(at endpoint) (netip.AddrPort, error) {
	if len(r.cfg.UDP)+len(r.cfg.TCP) > 0 {
		return netip.AddrPort{}, errors.New("it was given no such socket")
	}
	family, ip := "4", loopback4
	if at.ip6 {
		family, ip = "6", loopback6
	} else if at.host.IsValid() {
		ip = at.host
	}
	// Both networks have the same port if it is to be had.
	other := at
	other.tcp = !at.tcp
	if port := r.addrs[other].Port(); port != 0 {
		if addr, err := r.listenAt(at.tcp, family, netip.AddrPortFrom(ip, port)); err == nil {
			return addr, nil
		}
	}
	return r.listenAt(at.tcp, family, netip.AddrPortFrom(ip, 0))
}

func (r *Resolver) listenAt(tcp bool, family string, at netip.AddrPort) (netip.AddrPort, error) {
	if tcp {
		l, err := net.ListenTCP("tcp"+family, net.TCPAddrFromAddrPort(at))
		if err != nil {
			return netip.AddrPort{}, err
		}
		r.serveLocked(l, func() { r.accept(l) })
		return l.Addr().(*net.TCPAddr).AddrPort(), nil
	}
	c, err := net.ListenUDP("udp"+family, net.UDPAddrFromAddrPort(at))
	if err != nil {
		return netip.AddrPort{}, err
	}
	r.serveLocked(c, func() { r.receive(c) })
	return c.LocalAddr().(*net.UDPAddr).AddrPort(), nil
}

// Expect says that a socket with a local address was connected here instead of
// to a server. Nobody else is served.
func (r *Resolver) Expect(network string, local, server netip.AddrPort) {
	tcp, err := isTCP(network)
	if err != nil {
		return
	}
	r.mu.Lock()
	r.used = true
	r.mu.Unlock()
	r.clients.expect(client{tcp, unmapped(local)}, dialable(server))
}

// Server says which server a datagram socket asks that was connected here, by its
// two addresses.
func (r *Resolver) Server(local, peer netip.AddrPort) (netip.AddrPort, bool) {
	local, peer = unmapped(local), unmapped(peer)
	r.mu.Lock()
	here := false
	for at, addr := range r.addrs {
		here = here || !at.tcp && addr == peer
	}
	r.mu.Unlock()
	if !here {
		return netip.AddrPort{}, false
	}
	return r.clients.look(client{false, local})
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// Trusts says whether names are believed from a server.
func (r *Resolver) Trusts(server netip.AddrPort) bool {
	server = dialable(server)
	if r.cfg.Trusted != nil {
		return r.cfg.Trusted(server)
	}
	return r.system(server)
}

func (r *Resolver) system(server netip.AddrPort) bool {
	for _, s := range r.cfg.Upstreams() {
		if dialable(s) == server {
			return true
		}
	}
	return false
}

// Close ends everything, and returns when it has ended. Queries under way are
// not answered.
func (r *Resolver) Close() error {
	r.mu.Lock()
	r.closed = true
	open := r.open
	r.open = nil
	r.mu.Unlock()
	r.cancel()
	for c := range open {
		c.Close()
	}
	r.sockets.close()
	r.tasks.Wait()
	return nil
}

// adopt has Close close c, too. It closes it at once if that is over.
func (r *Resolver) adopt(c io.Closer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		c.Close()
		return false
	}
	r.open[c] = struct{}{}
	return true
}

// closeNow closes what was adopted.
func (r *Resolver) closeNow(c io.Closer) {
	r.mu.Lock()
	delete(r.open, c)
	r.mu.Unlock()
	c.Close()
}

// retry is a query by which a program may repeat itself.
type retry struct {
	from netip.AddrPort
	id   uint16
	Query
}

var errRepeated = errors.New("being decided about")

// decide returns an answer for the program, or nil if the query is to be
// forwarded. from is the client of a datagram: one that repeats its question
// while people are asked waits for the answer to the first.
func (r *Resolver) decide(ctx context.Context, p *packet, from netip.AddrPort) ([]byte, error) {
	if reply := special(p, !r.cfg.PassCanaries); reply != nil {
		return reply, nil
	}
	p.System = r.system(p.Server)
	if r.cfg.Meter != nil {
		p.Tunnel, _ = r.cfg.Meter.Over(p.Name, time.Now())
	}
	if from.IsValid() {
		key := retry{from, p.id(), p.Query}
		key.Tunnel = ""
		if !r.begin(key) {
			return nil, errRepeated
		}
		defer r.end(key)
	}
	switch r.cfg.Policy(ctx, p.Query) {
	case Forward:
		if r.cfg.Meter != nil {
			r.cfg.Meter.Count(p.Query, time.Now())
		}
		return nil, nil
	case NXDomain:
		return p.blocked(dns.RcodeNameError), nil
	}
	return p.blocked(dns.RcodeRefused), nil
}

func (r *Resolver) begin(key retry) bool {
	r.asking.Lock()
	defer r.asking.Unlock()
	if _, ok := r.asked[key]; ok {
		return false
	}
	r.asked[key] = struct{}{}
	return true
}

func (r *Resolver) end(key retry) {
	r.asking.Lock()
	defer r.asking.Unlock()
	delete(r.asked, key)
}

// learn remembers what an answer says. An answer that cannot be read is not one
// that a program may have: it might read it.
func (r *Resolver) learn(p *packet, reply []byte) error {
	a, err := parseAnswer(reply, p)
	if err != nil {
		return err
	}
	if r.cfg.Found != nil && Found(reply) {
		r.cfg.Found(p.Query)
	}
	trusted := p.System
	if r.cfg.Trusted != nil {
		trusted = r.cfg.Trusted(p.Server)
	}
	if trusted {
		r.cfg.Map.record(a, time.Now())
		if r.cfg.Learned != nil {
			r.cfg.Learned(a.addrs)
		}
	}
	return nil
}

// Found says whether there are records in an answer.
func Found(reply []byte) bool {
	return len(reply) >= headerLen && reply[3]&rcodeMask == dns.RcodeSuccess && count(reply, 1) > 0
}

// survive keeps one query from ending all others.
func (r *Resolver) survive(p *packet, send func([]byte)) {
	if v := recover(); v != nil {
		r.log.Error("resolver: bug, please report", "panic", v, "stack", string(debug.Stack()))
		send(p.fail())
	}
}

func (r *Resolver) take() bool {
	select {
	case r.slots <- struct{}{}:
		return true
	default:
		return false
	}
}
