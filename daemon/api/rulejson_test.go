package api

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/netjail/netjail/rules"
)

// someRules are rules with every field set, with none, and with odd texts.
func someRules(t testing.TB) []Rule {
	t.Helper()
	var list []Rule
	at := time.Date(2026, 1, 2, 3, 4, 5, 678, time.FixedZone("", 3600))
	for _, dest := range []string{"tcp://www.example.org:443,8000-8010", "listen+udp://[fe80::1%eth0]:53", "@any", "unix:/a%20<b>\"\\é"} {
		d, err := rules.ParseDestination(dest)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list,
			Rule{ID: "01234567", App: "curl", Verdict: rules.Allow, Dest: d, Lifetime: "always", Enabled: true},
			Rule{
				ID: "89abcdef", App: Every, Verdict: rules.Ask, Dest: d, Exe: "/usr/bin/<&>", Lifetime: "until", Expires: &at,
				Jail: "j", Local: true, Refuse: true, Note: "a \"b\"\\\n\x01\x7f\u2028é\xff", By: "prompt", Created: &at,
				File: "/home/me/é.toml", Line: 120, Use: &RuleUse{Hits: 7, Last: &at}, Shadowed: "01234567",
			})
	}
	return append(list, Rule{Use: &RuleUse{}})
}

// TestRuleListJSON: a list is written as encoding/json writes it, and read as
// encoding/json reads it.
func TestRuleListJSON(t *testing.T) {
	for name, list := range map[string]RuleList{
		"rules":   {Rules: someRules(t)},
		"differs": {Rules: someRules(t)[:1], Differs: []string{"/a", "/<b>"}},
		"empty":   {Rules: []Rule{}},
	} {
		want, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Encode(list)
		if err != nil || string(got) != string(want) {
			t.Errorf("%s: got %s, %v\nwant %s", name, got, err, want)
		}
		list.Brief = true
		brief, err := Encode(list)
		if err != nil {
			t.Errorf("%s: brief: %v", name, err)
		}
		var whole RuleList
		if err := whole.unmarshal(want); err != nil {
			t.Fatal(err)
		}
		for _, data := range [][]byte{got, brief} {
			var quick, slow RuleList
			if !quick.decode(data) || !reflect.DeepEqual(quick, whole) {
				t.Errorf("%s: got %+v of %s, want %+v", name, quick, data, whole)
			}
			if err := slow.unmarshal(data); err != nil || !reflect.DeepEqual(slow, whole) {
				t.Errorf("%s: got %+v, %v of %s by encoding/json, want %+v", name, slow, err, data, whole)
			}
		}
	}
}

// TestRuleListOfOthers: a list is read whoever wrote it.
func TestRuleListOfOthers(t *testing.T) {
	want := RuleList{Rules: []Rule{{ID: "a", App: "curl", Enabled: true}, {ID: "b", App: "curl"}}}
	for _, text := range []string{
		`{"rules":[{"app":"curl","id":"a","enabled":true},{"app":"curl","id":"b"}]}`,
		`{"rules": [{"id":"a","app":"curl","enabled":true}, {"id":"b","app":"curl"}]}`,
		`{"new":1,"rules":[{"id":"a","app":"curl","new":{},"enabled":true},{"id":"b","app":"curl"}]}`,
		`{"brief":[{"app":"curl","id":"a","enabled":true},{"id":"b","enabled":false}]}`,
		`{"brief":[{"id":"a","app":"curl","enabled":true,"new":[1]},{"id":"b","enabled":false}],"new":{}}`,
	} {
		var got RuleList
		if err := json.Unmarshal([]byte(text), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{`{"rules":[{"verdict":"maybe"}]}`, `{"brief":[{"verdict":"maybe"}]}`, `{"rules":[{}`, `{"brief":[7]}`, `7`} {
		var got RuleList
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s: got %+v, want an error", text, got)
		}
	}
}

// TestAppendRulesIndent: an indented list is as encoding/json has it.
func TestAppendRulesIndent(t *testing.T) {
	for _, list := range [][]Rule{someRules(t), {}, nil} {
		type object struct {
			A struct {
				Rules []Rule `json:"rules"`
			} `json:"a"`
		}
		var o object
		o.A.Rules = list
		want, err := json.MarshalIndent(o, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got, err := AppendRules([]byte("{\n  \"a\": {\n    \"rules\": "), list, 2)
		if got = append(got, "\n  }\n}"...); err != nil || string(got) != string(want) {
			t.Errorf("got %s, %v\nwant %s", got, err, want)
		}
	}
}

// TestRuleListUnknown: what cannot be said is an error, as it is for
// encoding/json.
func TestRuleListUnknown(t *testing.T) {
	far := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, r := range map[string]Rule{"verdict": {Verdict: 9}, "time": {Created: &far}} {
		if got, err := Encode(RuleList{Rules: []Rule{r}}); err == nil {
			t.Errorf("%s: got %s, want an error", name, got)
		}
	}
}

// FuzzRuleList: what is read the quick way is what encoding/json reads.
func FuzzRuleList(f *testing.F) {
	for _, list := range []RuleList{{Rules: someRules(f), Differs: []string{"/a"}}, {Rules: someRules(f), Brief: true}, {Rules: []Rule{}}} {
		data, err := Encode(list)
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(data))
	}
	f.Add([]byte(`{"rules":[],"differs":[]}`))
	f.Add([]byte(`{"rules":[{"id":"a"},]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var got, want RuleList
		if !got.decode(data) {
			return
		}
		if err := want.unmarshal(data); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: got %+v, want %+v", data, got, want)
		}
	})
}

// longList returns a list as there is one of many rules.
func longList(t testing.TB, n int) RuleList {
	t.Helper()
	at := time.Unix(1e9, 0).UTC()
	list := RuleList{Rules: make([]Rule, n)}
	for i := range list.Rules {
		d, err := rules.ParseDestination(fmt.Sprintf("tcp://host%d.zone%d.example.org:443", i, i%100))
		if err != nil {
			t.Fatal(err)
		}
		list.Rules[i] = Rule{
			ID: fmt.Sprintf("%08x", i), App: "app12", Verdict: rules.Allow, Dest: d, Lifetime: "always", Enabled: true, By: "import",
			Created: &at, File: "/home/me/.config/netjail/rules/app12.toml", Line: 5*i + 1, Use: &RuleUse{Hits: 7, Last: &at},
		}
	}
	return list
}

// TestRuleListAllocs: nothing is made for each rule but the ports it names.
func TestRuleListAllocs(t *testing.T) {
	const n = 1000
	list := longList(t, n)
	list.Brief = true
	data, err := list.encode()
	if err != nil {
		t.Fatal(err)
	}
	if got := testing.AllocsPerRun(10, func() { _, _ = list.encode() }); got > 10 {
		t.Errorf("to write %d rules took %v allocations, want at most 10", n, got)
	}
	if got := testing.AllocsPerRun(10, func() { new(RuleList).decode(data) }); got > n+20 {
		t.Errorf("to read %d rules took %v allocations, want at most %d", n, got, n+20)
	}
}

// BenchmarkRuleList writes and reads 10,000 rules.
func BenchmarkRuleList(b *testing.B) {
	list := longList(b, 10000)
	for _, brief := range []bool{false, true} {
		list.Brief = brief
		data, err := Encode(list)
		if err != nil {
			b.Fatal(err)
		}
		name := map[bool]string{false: "whole", true: "brief"}[brief]
		b.Run("write "+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Encode(list); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("read "+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var back RuleList
				if !quick(data, &back) {
					b.Fatal("not read")
				}
			}
		})
	}
}
