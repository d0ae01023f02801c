package rules

import (
	"fmt"
	"slices"
	"strconv"
)

// The words of the enumerations, in the order of their constants. Rule files,
// the wire and the command line share them.
var (
	verdictWords  = []string{"deny", "allow", "ask"}
	protoWords    = []string{"any", "tcp", "udp", "icmp"}
	opWords       = []string{"connect", "send", "listen"}
	lifetimeWords = []string{"once", "exit", "for", "always"}
	classWords    = []string{"none", "localhost", "lan", "internet", "multicast"}
)

// word returns the text of value i, and for a value that has none its number.
func word(words []string, i uint8) string {
	if int(i) < len(words) {
		return words[i]
	}
	return strconv.Itoa(int(i))
}

func marshalWord(what string, words []string, i uint8) ([]byte, error) {
	if int(i) >= len(words) {
		return nil, fmt.Errorf("%s %d is unknown", what, i)
	}
	return []byte(words[i]), nil
}

func parseWord[T ~uint8](what string, words []string, s string) (T, error) {
	i := slices.Index(words, s)
	if i < 0 {
		return 0, fmt.Errorf("%s %s is unknown", what, quote(s))
	}
	return T(i), nil
}

func unmarshalWord[T ~uint8](dst *T, what string, words []string, text []byte) error {
	v, err := parseWord[T](what, words, string(text))
	if err != nil {
		return err
	}
	*dst = v
	return nil
}

// ParseVerdict reads "deny", "allow" or "ask".
func ParseVerdict(s string) (Verdict, error) {
	return parseWord[Verdict]("verdict", verdictWords, s)
}

// String returns "deny", "allow" or "ask".
func (v Verdict) String() string { return word(verdictWords, uint8(v)) }

// MarshalText returns the text of String; an unknown verdict is an error.
func (v Verdict) MarshalText() ([]byte, error) {
	return marshalWord("verdict", verdictWords, uint8(v))
}

// UnmarshalText reads what MarshalText writes.
func (v *Verdict) UnmarshalText(text []byte) error {
	return unmarshalWord(v, "verdict", verdictWords, text)
}

// String returns "any", "tcp", "udp" or "icmp".
func (p Proto) String() string { return word(protoWords, uint8(p)) }

// MarshalText returns the text of String; an unknown protocol is an error.
func (p Proto) MarshalText() ([]byte, error) {
	return marshalWord("protocol", protoWords, uint8(p))
}

// UnmarshalText reads what MarshalText writes.
func (p *Proto) UnmarshalText(text []byte) error {
	return unmarshalWord(p, "protocol", protoWords, text)
}

// String returns "connect", "send" or "listen".
func (o Op) String() string { return word(opWords, uint8(o)) }

// MarshalText returns the text of String; an unknown operation is an error.
func (o Op) MarshalText() ([]byte, error) {
	return marshalWord("operation", opWords, uint8(o))
}

// UnmarshalText reads what MarshalText writes.
func (o *Op) UnmarshalText(text []byte) error {
	return unmarshalWord(o, "operation", opWords, text)
}

// String returns "once", "exit", "for" or "always".
func (k LifetimeKind) String() string { return word(lifetimeWords, uint8(k)) }

// MarshalText returns the text of String; an unknown kind is an error.
func (k LifetimeKind) MarshalText() ([]byte, error) {
	return marshalWord("lifetime", lifetimeWords, uint8(k))
}

// UnmarshalText reads what MarshalText writes.
func (k *LifetimeKind) UnmarshalText(text []byte) error {
	return unmarshalWord(k, "lifetime", lifetimeWords, text)
}

// quoteMax bounds how much of somebody's text an error repeats.
const quoteMax = 60

// quote shows s in an error: escaped, so that it cannot steer a terminal, and
// cut, so that it cannot flood one.
func quote(s string) string {
	if len(s) <= quoteMax {
		return strconv.QuoteToASCII(s)
	}
	return strconv.QuoteToASCII(s[:quoteMax]) + "..."
}
