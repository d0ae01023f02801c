package guard

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/netjail/netjail/interpose"
)

func yes() error { return nil }
func no() error  { return &Missing{NFT, "it does not answer", "start it"} }

func TestChoose(t *testing.T) {
	old, tcp, scopes, all := Machine{}, Machine{ABI: 4}, Machine{ABI: 7}, Machine{ABI: 10}
	with := func(m Machine, k Kind, p Probe) Machine {
		m.Probes = map[Kind]Probe{k: p}
		return m
	}
	for _, tt := range []struct {
		name   string
		want   Kind
		m      Machine
		leave  Leave
		kind   Kind // "": an error
		covers []string
	}{
		{"auto without anything", Auto, old, Leave{}, Strict, nil},
		{"auto with Landlock for files alone", Auto, Machine{ABI: 3}, Leave{}, Strict, nil},
		{"auto with Landlock", Auto, tcp, Leave{}, Landlock, []string{"TCP", "tracing others"}},
		{"auto with scopes", Auto, scopes, Leave{}, Landlock, []string{"TCP", "abstract sockets", "signals", "tracing others"}},
		{"auto with UDP", Auto, all, Leave{}, Landlock, []string{"TCP", "UDP", "abstract sockets", "signals", "tracing others"}},
		{"auto with the service", Auto, with(scopes, NFT, yes), Leave{}, NFT, []string{"IP packets", "abstract sockets", "signals", "tracing others"}},
		{"auto with a service that fails", Auto, with(scopes, NFT, no), Leave{}, Landlock, []string{"TCP", "abstract sockets", "signals", "tracing others"}},
		{"auto takes no network", Auto, with(old, Netns, yes), Leave{}, Strict, nil},
		{"without scopes", Auto, scopes, Leave{Abstract: true, Signals: true}, Landlock, []string{"TCP", "tracing others"}},
		{"strict by name", Strict, with(all, NFT, yes), Leave{}, Strict, nil},
		{"landlock by name", Landlock, with(tcp, NFT, yes), Leave{}, Landlock, []string{"TCP", "tracing others"}},
		{"landlock by name without it", Landlock, old, Leave{}, "", nil},
		{"landlock by name for files alone", Landlock, Machine{ABI: 3}, Leave{}, "", nil},
		{"nft by name without it", NFT, all, Leave{}, "", nil},
		{"nft by name that fails", NFT, with(all, NFT, no), Leave{}, "", nil},
		{"netns by name", Netns, with(tcp, Netns, yes), Leave{}, Netns, []string{"IP packets"}},
		{"netns by name without it", Netns, all, Leave{}, "", nil},
		{"no kind at all", "", all, Leave{}, "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g, err := Choose(tt.want, tt.leave, tt.m)
			if g.Kind != tt.kind || !slices.Equal(g.Covers, tt.covers) || (err != nil) != (tt.kind == "") {
				t.Errorf("got %q, %q, %v; want %q, %q", g.Kind, g.Covers, err, tt.kind, tt.covers)
			}
			var missing *Missing
			if err != nil && tt.want != "" && (!errors.As(err, &missing) || missing.What == "" || missing.Get == "") {
				t.Errorf("%v says not what is missing and how to get it", err)
			}
			if want := domain(tt.kind, tt.leave); err == nil && g.Domain != want {
				t.Errorf("domain %+v, want %+v", g.Domain, want)
			}
		})
	}
}

// TestDomain: where another guard has the sockets, Landlock must not.
func TestDomain(t *testing.T) {
	for k, want := range map[Kind]interpose.Domain{
		Strict: {None: true}, Landlock: {}, NFT: {Sockets: true}, Netns: {Sockets: true},
	} {
		if got := domain(k, Leave{}); got != want {
			t.Errorf("%s: domain %+v, want %+v", k, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	for in, want := range map[string]Kind{"": Auto, "auto": Auto, "strict": Strict, "landlock": Landlock, "nft": NFT, "netns": Netns} {
		if got, err := Parse(in); got != want || err != nil {
			t.Errorf("%q: got %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"none", "Strict", "strict ", "nft,strict"} {
		if got, err := Parse(in); err == nil {
			t.Errorf("%q: got %q, want an error", in, got)
		}
	}
}

func TestString(t *testing.T) {
	for want, g := range map[string]Guard{
		"strict (the filter alone)":                    {Kind: Strict},
		"landlock (the kernel refuses TCP)":            {Kind: Landlock, Covers: []string{"TCP"}},
		"landlock (the kernel refuses TCP and UDP)":    {Kind: Landlock, Covers: []string{"TCP", "UDP"}},
		"nft (the kernel refuses IP packets, a and b)": {Kind: NFT, Covers: []string{"IP packets", "a", "b"}},
	} {
		if g.String() != want {
			t.Errorf("got %q, want %q", g, want)
		}
	}
}

func TestTable(t *testing.T) {
	var kinds []string
	for _, r := range Table() {
		kinds = append(kinds, string(r.Kind))
		if r.Needs == "" || r.Covers == "" {
			t.Errorf("%s: says too little", r.Kind)
		}
	}
	if got := strings.Join(kinds, " "); got != "strict landlock nft netns" {
		t.Errorf("got %s", got)
	}
}

func TestFixedErrata(t *testing.T) {
	if got := (&Machine{Errata: 0b101}).FixedErrata(); !slices.Equal(got, []int{1, 3}) {
		t.Errorf("got %v, want 1 and 3", got)
	}
}
