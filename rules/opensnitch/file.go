package opensnitch

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"time"
	"unicode"
)

// maxFile bounds a rule file: OpenSnitch writes less than a thousand bytes.
const maxFile = 1 << 20

// jsonRule is a rule file.
type jsonRule struct {
	Created     json.RawMessage `json:"created"`
	Updated     json.RawMessage `json:"updated"`
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Action      string          `json:"action"`
	Duration    string          `json:"duration"`
	Enabled     bool            `json:"enabled"`
	Precedence  bool            `json:"precedence"`
	Nolog       bool            `json:"nolog"`
	Operator    jsonOperator    `json:"operator"`
}

// jsonOperator is one condition, or a list of them.
type jsonOperator struct {
	Type      string         `json:"type"`
	Operand   string         `json:"operand"`
	Data      string         `json:"data"`
	Sensitive bool           `json:"sensitive"`
	List      []jsonOperator `json:"list"`
}

// read understands one file as far as it can.
func read(f File, cfg *Config) *imported {
	r := &imported{Result: Result{File: f.Name}}
	if len(f.Data) > maxFile {
		r.refuse("larger than %d MiB", maxFile>>20)
		r.deny, r.enabled, r.loads = true, true, true
		return r
	}
	var j jsonRule
	if err := json.Unmarshal(f.Data, &j); err != nil {
		r.refuse("no rule of OpenSnitch's: %v", err)
		return r // nor does OpenSnitch take it
	}
	r.loads, r.Name, r.enabled, r.precedence = true, j.Name, j.Enabled, j.Precedence
	r.created, r.note = createdAt(j.Created, cfg.Now), noteOf(&j)
	r.deny = j.Action != "allow"
	switch j.Action {
	case "allow", "deny", "reject":
	default:
		r.refuse("action %q is not known", clip(j.Action))
	}
	if j.Name == "" {
		r.refuse("a rule without a name")
	}
	r.lifetime(j.Duration)
	r.operator(&j.Operator, cfg)
	// What this package does not know of may narrow the rule, or widen it.
	if err := strict(f.Data, &jsonRule{}); err != nil {
		r.refuse("%v", err)
		r.known = scope{}
	}
	if r.Refused == "" {
		r.destinations()
	}
	return r
}

// strict decodes one value in which every key is known.
func strict(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return err
	}
	return nil
}

func (r *imported) lifetime(s string) {
	switch s {
	case "always":
		return
	case "once", "until restart":
		r.refuse("duration %q: a rule of netjail's holds for a time or always", s)
		return
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		r.refuse("duration %q is not known", clip(s))
	case d < time.Second:
		r.refuse("duration %q is over before it begins", clip(s))
	default:
		r.life = d
		r.remark("holds for %s from the import on, as from OpenSnitch's start", s)
	}
}

// createdAt reads the time that a rule was made.
func createdAt(data json.RawMessage, now time.Time) time.Time {
	var s string
	if json.Unmarshal(data, &s) == nil {
		if t, err := time.Parse(time.RFC3339, s); err == nil && !t.UTC().IsZero() {
			return t.UTC().Truncate(time.Second)
		}
	}
	return now.UTC().Truncate(time.Second)
}

// noteOf keeps what the rule was called.
func noteOf(j *jsonRule) string {
	s := j.Description
	if s == "" {
		s = "OpenSnitch: " + j.Name
	}
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if r := []rune(s); len(r) > maxNote {
		s = string(r[:maxNote])
	}
	return s
}

// clip bounds how much of a file a reason repeats.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
