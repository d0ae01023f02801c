package names

import (
	"strings"

	"github.com/miekg/dns"
)

// canaries are names by which a network tells programs to use its resolver and
// not one of their own behind TLS, where no rule about names could hold:
// Firefox's, those of iCloud Private Relay, and the one by which resolvers
// announce that they speak TLS (RFC 9462).
var canaries = map[string]bool{
	"use-application-dns.net": true,
	"mask.icloud.com":         true,
	"mask-h2.icloud.com":      true,
	"_dns.resolver.arpa":      true,
}

// Special says whether a name is answered by the resolver itself.
func Special(name string) bool {
	top := name[strings.LastIndexByte(name, '.')+1:]
	return top == "localhost" || top == "invalid" || canaries[name]
}

// special answers names that are nobody's to decide about (RFC 6761), or
// returns nil. The names of multicast DNS below "local" are not among them: a
// system that wants those looked up elsewhere says so in its configuration, and
// one that does not forwards them to its server, which natively happens too.
func special(p *packet, canary bool) []byte {
	name := p.Name
	switch top := name[strings.LastIndexByte(name, '.')+1:]; {
	case top == "localhost":
		var data []byte
		if p.Class == dns.ClassINET {
			switch p.Type {
			case dns.TypeA:
				data = []byte{127, 0, 0, 1}
			case dns.TypeAAAA:
				data = []byte{15: 1}
			}
		}
		return p.local(data)
	case top == "invalid":
		return p.edns(p.reply(dns.RcodeNameError), nil, "")
	case canary && canaries[name]:
		return p.blocked(dns.RcodeNameError)
	}
	return nil
}
