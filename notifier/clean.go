package notifier

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxMarks is how many combining marks may follow one another; more of them
// climb over the neighbouring lines.
const maxMarks = 4

// Clean makes text that comes from a program fit to be shown: one line of
// printable characters, at most max of them. White space becomes a space; what
// is invisible or changes the text around it (controls, bidi, zero width,
// format, unassigned and private characters, invalid UTF-8) becomes U+FFFD, so
// that one can see it was there. A longer text is cut and ends in "…".
func Clean(s string, max int) string {
	if max <= 0 {
		return ""
	}
	var b strings.Builder
	n, marks := 0, 0
	for i, r := range s {
		if unicode.IsMark(r) {
			if marks++; marks > maxMarks {
				continue
			}
		} else {
			marks = 0
		}
		if n++; n > max {
			return cutLast(b.String()) + "…"
		}
		_, size := utf8.DecodeRuneInString(s[i:])
		b.WriteRune(visible(r, size))
	}
	return b.String()
}

// visible is the character shown for r, which took size bytes.
func visible(r rune, size int) rune {
	switch {
	case r == utf8.RuneError && size <= 1:
		return utf8.RuneError
	case unicode.IsSpace(r):
		return ' '
	case !unicode.IsPrint(r), blank(r):
		return utf8.RuneError
	}
	return r
}

// blank reports whether r counts as printable but shows nothing.
func blank(r rune) bool {
	return r == '\u2800' || // the empty braille pattern
		unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

func cutLast(s string) string {
	_, size := utf8.DecodeLastRuneInString(s)
	return s[:len(s)-size]
}

// ShellWord writes s so that a shell reads it as one word again and a person
// sees every character of it.
func ShellWord(s string) string {
	plain := func(r rune) bool {
		return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("@%+=:,./_-", r))
	}
	switch {
	case s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0:
		return s
	case Clean(s, len(s)) == s:
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	quoted := strconv.QuoteToASCII(s)
	quoted = strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
	return "$'" + strings.ReplaceAll(quoted, "'", `\'`) + "'"
}
