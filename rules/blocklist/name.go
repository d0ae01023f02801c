package blocklist

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// ParseName returns a name as a list holds it: lower case, without a dot at
// the end, an international one in its xn-- form.
func ParseName(s string) (string, error) {
	b, err := appendName(nil, []byte(s))
	if err != nil {
		return "", fmt.Errorf("name %q: %w", clip(s), err)
	}
	return string(b), nil
}

var (
	errNoName = errors.New("not a host name")
	errNumber = errors.New("ends in a number, which is no name but an address")
)

// appendName appends the form of name that DNS knows. What cannot be a name is
// an error.
func appendName(dst, name []byte) ([]byte, error) {
	for _, c := range name {
		if c < utf8.RuneSelf {
			continue
		}
		s, err := ascii(string(name))
		if err != nil {
			return dst, fmt.Errorf("%w: %w", errNoName, err)
		}
		name = []byte(s)
		break
	}
	if n := len(name); n > 0 && name[n-1] == '.' {
		name = name[:n-1]
	}
	if len(name) > maxName {
		return dst, fmt.Errorf("%w: longer than %d bytes", errNoName, maxName)
	}
	label, digits := 0, true
	for _, c := range name {
		if c == '.' {
			if label == 0 {
				return dst, fmt.Errorf("%w: an empty label", errNoName)
			}
			label, digits = 0, true
			dst = append(dst, c)
			continue
		}
		c = fold(c)
		if !isNameByte(c) {
			return dst, errNoName
		}
		if label++; label > maxLabel {
			return dst, fmt.Errorf("%w: a label longer than %d bytes", errNoName, maxLabel)
		}
		digits = digits && c >= '0' && c <= '9'
		dst = append(dst, c)
	}
	switch {
	case label == 0:
		return dst, fmt.Errorf("%w: an empty label", errNoName)
	case digits:
		return dst, errNumber
	}
	return dst, nil
}

// fold returns the lower case of an ASCII letter, and any other byte as it is.
func fold(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// clip keeps an error message on one line of a terminal.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}
