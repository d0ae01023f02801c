package names

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/net/dns/dnsmessage"
)

// zone is what the system's server knows.
var zone = map[string]handler{
	"a.example.org":     hasAddrs("198.51.100.1"),
	"b.example.org":     hasAddrs("198.51.100.2"),
	"six.example.org":   hasAddrs("2001:db8::6"),
	"one.example.org":   hasAddrs("198.51.100.10"), // shared
	"two.example.org":   hasAddrs("198.51.100.10"),
	"big.example.org":   hasAddrs(many(200)...),
	"fifty.example.org": hasAddrs(many(50)...),
	"alias.example.org": leadsTo("cdn.example.net", "198.51.100.3"),
	"cdn.example.net":   hasAddrs("198.51.100.3"),
	"www.search.org":    hasAddrs("198.51.100.4"),
	"moving.example.org": moves([]string{
		"198.51.100.21", "198.51.100.22", "198.51.100.23"}),

	"records.example.org":   hasRecords,
	"_sip._tcp.example.org": hasRecords,
	"bits.example.org":      saysBits,

	"home.example.org":        hasAddrs("127.0.0.1"),
	"inside.example.org":      hasAddrs("10.77.0.1"),
	"metadata.example.org":    hasAddrs("169.254.169.254"),
	"use-application-dns.net": hasAddrs("198.51.100.5"),
	"*.tunnel.example.org":    hasAddrs("198.51.100.6"),
}

// many returns different addresses from 198.51.100.0/24.
func many(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("198.51.100.%d", i+55))
	}
	return list
}

// place counts the moves.
var place atomic.Int64

// moves answers with one address for a second, and with the next one to the next
// question about IPv4.
func moves(texts []string) handler {
	addrs := parseAddrs(texts)
	return func(q *question) {
		if q.Type != dnsmessage.TypeA {
			q.reply()
			return
		}
		n := int(place.Add(1)-1) % len(addrs)
		q.reply(q.records(q.name, 1, addrs[n])...)
	}
}
