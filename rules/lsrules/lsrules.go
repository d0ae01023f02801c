// Package lsrules takes the names that a Little Snitch rule group (.lsrules)
// denies to every program, for a blocklist.
//
//	r, err := lsrules.Read(data)
//	fmt.Println(r.Names, r.Refused)
//
// A blocklist blocks a name and all below it. That is what
// "denied-remote-domains" says; of "denied-remote-hosts" it blocks more, never
// less. Whatever else is in the file is refused with a reason. The package reads
// bytes that it is given, and opens no file.
package lsrules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/netjail/netjail/rules"
)

// maxFile bounds a rule group: the largest have a few hundred thousand names.
const maxFile = 64 << 20

// Result is what a rule group denies to every program.
type Result struct {
	Names   []string  // each with all below it, sorted
	Hosts   int       // of Names, that were denied without what is below them
	Refused []Refusal // what is not in Names
}

// Refusal is a part of the file that was not taken.
type Refusal struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// words is a string, or a list of them.
type words []string

func (w *words) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte(`"`)) {
		var s string
		err := json.Unmarshal(data, &s)
		*w = strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
		return err
	}
	return json.Unmarshal(data, (*[]string)(w))
}

// remarks are the keys that decide nothing.
var remarks = []string{"name", "description", "denied-remote-notes", "creationDate", "modificationDate"}

// Read reads a rule group.
func Read(data []byte) (*Result, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("larger than %d MiB", maxFile>>20)
	}
	var group map[string]json.RawMessage
	if err := json.Unmarshal(data, &group); err != nil {
		return nil, fmt.Errorf("not a rule group: %w", err)
	}
	c := collector{names: make(map[string]bool)}
	for _, key := range slices.Sorted(maps.Keys(group)) {
		switch {
		case key == "denied-remote-domains" || key == "denied-remote-hosts":
			c.take(key, group[key], key == "denied-remote-hosts")
		case key == "rules":
			c.rules(group[key])
		case !slices.Contains(remarks, key):
			c.refuse(key, "a blocklist is of names only")
		}
	}
	return &Result{Names: slices.Sorted(maps.Keys(c.names)), Hosts: c.hosts, Refused: c.refused}, nil
}

// collector gathers names.
type collector struct {
	names   map[string]bool
	hosts   int
	refused []Refusal
}

func (c *collector) refuse(what, why string) {
	c.refused = append(c.refused, Refusal{what, why})
}

// take takes a list of names.
func (c *collector) take(where string, data json.RawMessage, hosts bool) {
	var list words
	if err := json.Unmarshal(data, &list); err != nil {
		c.refuse(where, "not a name or a list of them")
		return
	}
	for _, s := range list {
		h, err := rules.ParseHost(strings.TrimPrefix(s, "."))
		switch {
		case err != nil:
			c.refuse(where, err.Error())
		case h.Kind != rules.HostName:
			c.refuse(where, fmt.Sprintf("%q is not a name", s))
		case !c.names[h.Name]:
			c.names[h.Name] = true
			if hosts {
				c.hosts++
			}
		}
	}
}

// rules takes what rules deny to every program.
func (c *collector) rules(data json.RawMessage) {
	var list []map[string]json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil {
		c.refuse("rules", "not a list of rules")
		return
	}
	for i, r := range list {
		where := fmt.Sprintf("rule %d", i+1)
		if why := unfit(r); why != "" {
			c.refuse(where, why)
			continue
		}
		for _, key := range []string{"remote-domains", "remote-hosts"} {
			if names, ok := r[key]; ok {
				c.take(where, names, key == "remote-hosts")
			}
		}
	}
}

// unfit says why a rule is not just that every program is denied some names.
func unfit(r map[string]json.RawMessage) string {
	is := func(key string, words ...string) bool {
		var s string
		data, ok := r[key]
		return !ok || json.Unmarshal(data, &s) == nil && slices.Contains(words, s)
	}
	var off bool
	_, action := r["action"]
	_, domains := r["remote-domains"]
	_, hosts := r["remote-hosts"]
	switch {
	case json.Unmarshal(r["disabled"], &off) == nil && off:
		return "disabled"
	case !action || !is("action", "deny"):
		return "its action is not deny: a blocklist only denies"
	case !is("process", "any"):
		return "for one program: netjail rules add PROGRAM deny NAME"
	case !is("direction", "outgoing"), !is("protocol", "any"), !is("ports", "any"):
		return "for some traffic only"
	case !domains && !hosts:
		return "not of names"
	}
	for key := range r {
		if !slices.Contains([]string{"action", "process", "direction", "protocol", "ports", "remote-domains", "remote-hosts", "disabled", "notes", "priority", "creationDate", "modificationDate"}, key) {
			return fmt.Sprintf("%q is not known here, and may narrow it", key)
		}
	}
	return ""
}
