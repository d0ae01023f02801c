package names

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// raw is a record of a type that dnsmessage does not know, or knows too well.
func raw(typ dnsmessage.Type, data string) dnsmessage.ResourceBody {
	b, err := hex.DecodeString(strings.ReplaceAll(data, " ", ""))
	if err != nil {
		panic(err)
	}
	return &dnsmessage.UnknownResource{Type: typ, Data: b}
}

const typeRRSIG = 46

// bodies are what records.example.org has, and _sip._tcp.example.org.
var bodies = []struct {
	typ  dnsmessage.Type
	body dnsmessage.ResourceBody
}{
	{dnsmessage.TypeTXT, &dnsmessage.TXTResource{TXT: []string{"v=spf1 -all", "two \"strings\" \\ \x00\xff"}}},
	{dnsmessage.TypeTXT, &dnsmessage.TXTResource{TXT: []string{strings.Repeat("x", 255)}}},
	{dnsmessage.TypeMX, &dnsmessage.MXResource{Pref: 10, MX: dnsmessage.MustNewName("a.example.org.")}},
	{dnsmessage.TypeSRV, &dnsmessage.SRVResource{Priority: 1, Weight: 2, Port: 5060, Target: dnsmessage.MustNewName("a.example.org.")}},
	{dnsmessage.TypeAAAA, &dnsmessage.AAAAResource{AAAA: [16]byte{0x20, 1, 0xd, 0xb8, 15: 6}}},
	// 1 . alpn=h2,h3 ipv4hint=198.51.100.1, and a key that has no name
	{dnsmessage.TypeHTTPS, raw(dnsmessage.TypeHTTPS, "0001 00 0001 0006 026832 026833 0004 0004 c6336401 ff00 0003 010203")},
	// 2 a.example.org. port=8443
	{dnsmessage.TypeSVCB, raw(dnsmessage.TypeSVCB, "0002 0161 076578616d706c65 036f7267 00 0003 0002 20fb")},
}

// hasRecords answers with the records of the question's type, and with a
// signature where one is wanted. It takes the bits of the query over.
func hasRecords(q *question) {
	var list []dnsmessage.ResourceBody
	for _, b := range bodies {
		if b.typ == q.Type {
			list = append(list, b.body)
		}
	}
	q.signed(list)
}

// saysBits answers with the bits of the query.
func saysBits(q *question) {
	text := fmt.Sprintf("rd=%v ad=%v cd=%v edns=%v do=%v", q.head.RecursionDesired, q.head.AuthenticData, q.head.CheckingDisabled, q.edns, q.do)
	q.signed([]dnsmessage.ResourceBody{&dnsmessage.TXTResource{TXT: []string{text}}})
}

func (q *question) signed(list []dnsmessage.ResourceBody) {
	m := dnsmessage.Message{Header: q.head, Questions: []dnsmessage.Question{q.Question}}
	m.Response, m.RecursionAvailable = true, true
	m.AuthenticData = q.do || q.head.AuthenticData // RFC 6840, 5.8
	if q.do {
		list = append(list, raw(typeRRSIG, fmt.Sprintf("%04x", uint16(q.Type))+
			"0d 03 0000003c 7fffffff 00000001 1234 076578616d706c65 036f7267 00"+strings.Repeat("a5", 64)))
	}
	for _, body := range list {
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: header(q.name, 60), Body: body})
	}
	if q.edns {
		var h dnsmessage.ResourceHeader
		if err := h.SetEDNS0(1232, dnsmessage.RCodeSuccess, q.do); err != nil {
			panic(err)
		}
		m.Additionals = append(m.Additionals, dnsmessage.Resource{Header: h, Body: &dnsmessage.OPTResource{}})
	}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	q.send(b)
}

// lookedUp has a program ask for a name: natively, allowed, undecided about, and
// denied. has is what it prints of an answer.
func lookedUp(t *testing.T, name string, has []string, args ...string) {
	t.Helper()
	x := newTrial(t)
	bare := x.bare(t, args...)
	bare.succeeded(t, name)
	for _, s := range has {
		if !strings.Contains(bare.Stdout, s) {
			t.Fatalf("without netjail it does not print %q:\n%s", s, bare.Stdout)
		}
	}
	allowed := x.jailed(t, allow(name), args...)
	same(t, allowed, bare)
	allowed.hinted(t, args[0])
	undecided := x.jailed(t, nil, args...)
	undecided.nothing(t)
	undecided.hinted(t, args[0], "look up "+name)
	denied := x.jailed(t, []string{"--allow", "@any", "--deny", name}, args...)
	denied.nothing(t)
	for _, o := range []outcome{undecided, denied} {
		if strings.Contains(o.Stdout, has[0]) {
			t.Errorf("it printed an answer:\n%s", o.Stdout)
		}
	}
}

// digRecords are arguments that print all of an answer but what differs each time.
func digRecords(name, typ string, how ...string) []string {
	return append([]string{"dig", "+time=30", "+tries=1", "+noall", "+comments", "+question", "+answer", "+authority", "+additional",
		"+nocookie", "+qid=4711", name, typ}, how...)
}

// TestRecords asks for records of many types, with and without signatures.
func TestRecords(t *testing.T) {
	e2etest.Need(t, "dig")
	const sig, do, ad = "\tRRSIG\t", "flags: do;", " ad"
	for typ, name := range map[string]string{
		"TXT": "records.example.org", "HTTPS": "records.example.org", "SVCB": "records.example.org", "MX": "records.example.org",
		"AAAA": "records.example.org", "SRV": "_sip._tcp.example.org",
	} {
		record := name + ".\t60\tIN\t" + typ + "\t"
		for _, c := range []struct {
			how []string
			has []string
		}{
			{nil, []string{record}},
			{[]string{"+dnssec"}, []string{record, sig, do, ad}},
			{[]string{"+tcp"}, []string{record}},
			{[]string{"+tcp", "+dnssec", "+cdflag"}, []string{record, sig, do, ad, " cd;"}},
		} {
			t.Run(typ+" "+strings.Join(c.how, " "), func(t *testing.T) {
				lookedUp(t, name, c.has, digRecords(name, typ, c.how...)...)
			})
		}
	}
}

// TestBits has the server see the bits of a query as they were set, and the
// program see those of the answer.
func TestBits(t *testing.T) {
	e2etest.Need(t, "dig")
	const name = "bits.example.org"
	for how, want := range map[string]string{
		"+adflag +nocdflag":          "rd=true ad=true cd=false edns=true do=false",
		"+noadflag +nocdflag":        "rd=true ad=false cd=false edns=true do=false",
		"+noadflag +cdflag +norec":   "rd=false ad=false cd=true edns=true do=false",
		"+noadflag +cdflag +dnssec":  "rd=true ad=false cd=true edns=true do=true",
		"+adflag +noedns":            "rd=true ad=true cd=false edns=false do=false",
		"+tcp +adflag +cdflag":       "rd=true ad=true cd=true edns=true do=false",
		"+tcp +noadflag +dnssec":     "rd=true ad=false cd=false edns=true do=true",
		"+ednsopt=65001:c0ffee +rec": "rd=true ad=true cd=false edns=true do=false",
	} {
		t.Run(how, func(t *testing.T) {
			lookedUp(t, name, []string{`"` + want + `"`}, digRecords(name, "TXT", strings.Fields(how)...)...)
		})
	}
}

const nodeRecords = `
const [how, name] = process.argv.slice(1), resolver = new (require("dns").promises.Resolver)({timeout: 20000, tries: 1})
resolver[how](name).then(a => console.log(JSON.stringify(a))).catch(e => {
  console.error(e.code)
  process.exit(1)
})`

// TestCaresRecords asks for records by c-ares.
func TestCaresRecords(t *testing.T) {
	e2etest.Need(t, "/usr/bin/node")
	for how, c := range map[string]struct{ name, has string }{
		"resolveTxt": {"records.example.org", `[["v=spf1 -all","two`},
		"resolveSrv": {"_sip._tcp.example.org", `[{"name":"a.example.org","port":5060,"priority":1,"weight":2}]`},
		"resolveMx":  {"records.example.org", `[{"exchange":"a.example.org","priority":10}]`},
	} {
		t.Run(how, func(t *testing.T) {
			lookedUp(t, c.name, []string{c.has}, "/usr/bin/node", "-e", nodeRecords, how, c.name)
		})
	}
}
