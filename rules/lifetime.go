package rules

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	day  = 24 * time.Hour
	week = 7 * day
)

// maxLifetime bounds a duration: a hundred years is "always".
const maxLifetime = 36500 * day

// ParseLifetime reads "once", "exit", "always" or a duration such as "90s",
// "1h", "1d12h", "7d" or "2w".
func ParseLifetime(s string) (Lifetime, error) {
	switch s {
	case "once":
		return Lifetime{Kind: Once}, nil
	case "exit":
		return Lifetime{Kind: UntilExit}, nil
	case "always":
		return Lifetime{Kind: Always}, nil
	}
	d, err := parseDuration(s)
	if err != nil {
		return Lifetime{}, fmt.Errorf("lifetime %s: %w", quote(s), err)
	}
	return Lifetime{Kind: For, For: d}, nil
}

// String returns the text that ParseLifetime reads back to the same value.
func (l Lifetime) String() string {
	if l.Kind != For {
		return l.Kind.String()
	}
	if l.For > 0 && l.For%day == 0 {
		return strconv.FormatInt(int64(l.For/day), 10) + "d"
	}
	s := l.For.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText returns the text of String; a lifetime that ParseLifetime would
// refuse is an error.
func (l Lifetime) MarshalText() ([]byte, error) {
	s := l.String()
	if _, err := ParseLifetime(s); err != nil {
		return nil, err
	}
	return []byte(s), nil
}

// UnmarshalText reads what MarshalText writes.
func (l *Lifetime) UnmarshalText(text []byte) error {
	v, err := ParseLifetime(string(text))
	if err != nil {
		return err
	}
	*l = v
	return nil
}

// parseDuration is time.ParseDuration with leading weeks and days.
func parseDuration(s string) (time.Duration, error) {
	if len(s) > 32 {
		return 0, errors.New("longer than 32 bytes")
	}
	var sum time.Duration
	rest := s
	for _, u := range []struct {
		name byte
		len  time.Duration
	}{{'w', week}, {'d', day}} {
		i := strings.IndexByte(rest, u.name)
		if i < 0 {
			continue
		}
		n, err := strconv.ParseUint(rest[:i], 10, 32)
		if err != nil || n > uint64(maxLifetime/u.len) {
			return 0, errors.New("not a duration of at most 36500d")
		}
		sum += time.Duration(n) * u.len
		rest = rest[i+1:]
	}
	if rest != "" || s == "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 || d > maxLifetime {
			return 0, errors.New("want once, exit, always or a duration such as 30m, 1h, 7d, 2w")
		}
		sum += d
	}
	if sum <= 0 || sum > maxLifetime {
		return 0, errors.New("want a duration above zero and at most 36500d")
	}
	return sum, nil
}
