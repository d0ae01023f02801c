package opensnitch

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/netjail/netjail/rules"
	"github.com/netjail/netjail/rules/rulefile"
)

// connection is what OpenSnitch decides about.
type connection struct {
	path, proto, host, ip string
	port                  int
}

var compiled = make(map[string]*regexp.Regexp)

// meets says whether a connection meets an operator, as OpenSnitch's documents
// and code have it.
func (o *jsonOperator) meets(c *connection) bool {
	if o.Type == "list" {
		for i := range o.List {
			if !o.List[i].meets(c) {
				return false
			}
		}
		return true
	}
	value, ok := map[string]string{
		"process.path": c.path, "protocol": c.proto, "dest.host": c.host, "dest.ip": c.ip, "dest.port": strconv.Itoa(c.port),
		"user.id": "1000", "process.command": c.path + " x",
	}[o.Operand]
	data := o.Data
	if !o.Sensitive {
		data, value = strings.ToLower(data), strings.ToLower(value)
	}
	switch {
	case o.Operand == "true":
		return true
	case o.Operand == "dest.network":
		_, n, err := net.ParseCIDR(o.Data)
		return err == nil && n.Contains(net.ParseIP(c.ip))
	case !ok:
		return false
	case o.Type == "regexp":
		if compiled[data] == nil {
			compiled[data] = regexp.MustCompile(data)
		}
		return compiled[data].MatchString(value)
	case o.Type == "range":
		var first, last int
		_, err := fmt.Sscanf(o.Data, "%d-%d", &first, &last)
		return err == nil && first <= c.port && c.port <= last
	}
	return data == value
}

// decided is OpenSnitch's answer: the first deny or precedence by name, else the
// last allow, else a question.
func decided(list []jsonRule, c *connection) rules.Verdict {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b jsonRule) int { return strings.Compare(a.Name, b.Name) })
	v := rules.Ask
	for _, r := range list {
		if !r.Enabled || !r.Operator.meets(c) {
			continue
		}
		if r.Action != "allow" {
			return rules.Deny
		}
		if v = rules.Allow; r.Precedence {
			return v
		}
	}
	return v
}

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

var paths = []string{"/usr/bin/curl", "/usr/bin/wget", "/opt/x/tool"}

func randomOperator(r *rand.Rand) jsonOperator {
	re := func(operand, data string) jsonOperator { return op("regexp", operand, data) }
	list := []jsonOperator{}
	if r.IntN(3) > 0 {
		list = append(list, path(pick(r, paths...)))
	}
	if r.IntN(3) > 0 {
		list = append(list, pick(r,
			op("simple", "dest.host", "a.org"), op("simple", "dest.host", "www.a.org"), op("simple", "dest.host", "b.com"),
			re("dest.host", `^(|.*\.)a\.org$`), re("dest.host", `^.*\.a\.org$`), re("dest.host", `a.org`),
			op("simple", "dest.ip", "203.0.113.7"), op("simple", "dest.ip", "2001:db8::7"), re("dest.ip", `^203\.0\..*`),
			op("network", "dest.network", "203.0.113.0/24"), op("network", "dest.network", "2001:db8::/32")))
	}
	if r.IntN(3) == 0 {
		list = append(list, pick(r, op("simple", "dest.port", "443"), op("range", "dest.port", "1-1000"), op("range", "dest.port", "400-500"), re("dest.port", `^(80|443)$`)))
	}
	if r.IntN(4) == 0 {
		list = append(list, pick(r, op("simple", "protocol", "tcp"), op("simple", "protocol", "tcp6"), re("protocol", `^tcp6?$`), re("protocol", `^udp6?$`)))
	}
	if r.IntN(20) == 0 {
		list = append(list, op("regexp", "process.command", "curl"))
	}
	if len(list) == 0 {
		return op("simple", "true", "")
	}
	if len(list) == 1 && r.IntN(2) == 0 {
		return list[0]
	}
	return all(list...)
}

func randomSet(t *testing.T, r *rand.Rand) ([]jsonRule, []File) {
	var list []jsonRule
	var files []File
	for i := range 1 + r.IntN(6) {
		name := fmt.Sprintf("%c%d", 'a'+r.IntN(26), i)
		f := file(t, name, pick(r, "allow", "allow", "deny", "reject"), randomOperator(r), func(j *jsonRule) {
			j.Precedence = r.IntN(5) == 0
			j.Enabled = r.IntN(8) > 0
		})
		var j jsonRule
		if err := json.Unmarshal(f.Data, &j); err != nil {
			t.Fatal(err)
		}
		list, files = append(list, j), append(files, f)
	}
	return list, files
}

// TestAgainstOpenSnitch: of thousands of directories, nothing that is imported
// lets through what OpenSnitch did not; and where every rule was taken, the two
// agree about every connection.
func TestAgainstOpenSnitch(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	const sets, connections = 4000, 30
	allowed, same, whole := 0, 0, 0
	for n := range sets {
		list, files := randomSet(t, r)
		var imported []rules.Rule
		complete := true
		for _, res := range Convert(files, conf) {
			imported = append(imported, res.Rules...)
			complete = complete && res.Refused == "" && len(res.Notes) == 0
		}
		if complete {
			whole++
		}
		again := readBack(t, imported)
		set := rules.NewSet(again)
		for range connections {
			c := connection{path: pick(r, paths...), port: pick(r, 80, 443, 450, 9999), host: pick(r, "", "a.org", "www.a.org", "x.www.a.org", "b.com", "a.org.evil.com")}
			proto := pick(r, rules.TCP, rules.TCP, rules.UDP)
			c.proto, c.ip = proto.String(), pick(r, "203.0.113.7", "203.0.9.9", "198.51.100.7")
			if r.IntN(3) == 0 {
				c.proto, c.ip = c.proto+"6", pick(r, "2001:db8::7", "2001:db8::8", "2606::1")
			}
			q := rules.Request{App: rules.AppName(c.path), Exe: c.path, Proto: proto, Addr: netip.AddrPortFrom(netip.MustParseAddr(c.ip), uint16(c.port))}
			if c.host != "" {
				q.Names = []string{c.host}
			}
			if r.IntN(4) == 0 {
				q.App = "other" // a program in another's jail
			}
			got, want := set.Decide(&q, epoch).Verdict, decided(list, &c)
			if got == rules.Allow {
				allowed++
				if want != rules.Allow {
					t.Fatalf("set %d, %+v in the jail of %s: %v here, %v in OpenSnitch\n%s\n%s", n, c, q.App, got, want, show(list), text(imported))
				}
			}
			if complete && q.App != "other" {
				same++
				if got != want {
					t.Fatalf("set %d, all of it taken, %+v: %v here, %v in OpenSnitch\n%s\n%s", n, c, got, want, show(list), text(imported))
				}
			}
			if want == rules.Deny && complete && got != rules.Deny && q.App == "other" {
				t.Fatalf("set %d, %+v in another jail: %v here, %v in OpenSnitch\n%s\n%s", n, c, got, want, show(list), text(imported))
			}
		}
	}
	t.Logf("%d of %d sets taken whole, %d connections allowed, %d compared exactly", whole, sets, allowed, same)
	if whole < sets/10 || allowed < sets {
		t.Error("the test is too thin")
	}
}

// readBack exports rules and reads the export: the same again.
func readBack(t *testing.T, list []rules.Rule) []rules.Rule {
	t.Helper()
	data, err := rulefile.Export(list)
	if err != nil {
		t.Fatal(err)
	}
	again, err := rulefile.ParseExport("x", data)
	if err != nil || len(again) != len(list) {
		t.Fatalf("%v\n%s", err, data)
	}
	for i, r := range again {
		if r.Source = (rules.Source{}); r != list[i] {
			t.Fatalf("%+v is read back as %+v", list[i], r)
		}
	}
	return again
}

func show(list []jsonRule) string {
	var b strings.Builder
	for _, r := range list {
		data, _ := json.Marshal(r.Operator)
		fmt.Fprintf(&b, "%s %s precedence=%v enabled=%v %s\n", r.Name, r.Action, r.Precedence, r.Enabled, data)
	}
	return b.String()
}
