package notifier

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// idn tells what a name in punycode stands for, in parentheses: its letters, if
// they are of one alphabet and can be taken for no others. A name in other
// letters has "" as has one in plain ASCII.
func idn(name string) string {
	if !strings.Contains(strings.ToLower(name), "xn--") {
		return ""
	}
	letters, err := idna.Lookup.ToUnicode(name)
	if err != nil {
		return ""
	}
	plain := true
	latinTop := ascii(letters[strings.LastIndexByte(letters, '.')+1:])
	for label := range strings.SplitSeq(letters, ".") {
		switch look := looksOf(label); {
		case look == alike, look == copied && latinTop:
			return " (look-alike letters)"
		case look == other:
			plain = false
		}
	}
	if !plain || ascii(letters) {
		return ""
	}
	return " (" + Clean(letters, maxName) + ")"
}

func ascii(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// looks say whether a label can be shown in its own letters.
type looks uint8

const (
	usual  looks = iota
	alike        // it can be taken for another one
	copied       // it can below a top-level domain in Latin letters
	other        // nobody here knows the alphabet well enough
)

// alphabet is the set of letters that a label is written in.
type alphabet uint8

const (
	latin alphabet = 1 << iota
	cyrillic
	greek
	kana // and Han
	hangul
	strange
)

// european are the alphabets whose letters are taken for one another.
const european = latin | cyrillic | greek

func looksOf(label string) looks {
	var used alphabet
	copies, letters := 0, 0 // letters that look like Latin ones, and all
	for _, r := range label {
		if r == '-' || '0' <= r && r <= '9' {
			continue
		}
		letters++
		used |= alphabetOf(r)
		if strings.ContainsRune(latinTwins, r) {
			copies++
		}
		if strings.ContainsRune(falseLatin, r) || unicode.Is(unicode.Latin, r) && !commonLatin(r) {
			return alike
		}
	}
	switch used {
	case 0, latin, kana, hangul:
		return usual
	case cyrillic, greek:
		if copies == letters {
			return copied
		}
		return usual
	}
	if used&^european == 0 {
		return alike
	}
	return other
}

const (
	// latinTwins are the letters of other alphabets that look like Latin ones.
	latinTwins = "асԁеһіїјӏорԛѕԝхуўъьҽпгѵѡкмт" + "αγικνορτυχωέίόύϊ"

	// falseLatin are letters that look like plain ones of the same alphabet.
	falseLatin = "ıĸŉſ"
)

// commonLatin says whether a letter is used to write European languages or
// Vietnamese, and not just by phoneticians.
func commonLatin(r rune) bool { return r <= 0x17f || 0x1ea0 <= r && r <= 0x1ef9 }

func alphabetOf(r rune) alphabet {
	switch {
	case unicode.Is(unicode.Latin, r):
		return latin
	case unicode.Is(unicode.Cyrillic, r):
		return cyrillic
	case unicode.Is(unicode.Greek, r):
		return greek
	case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana), r == 'ー':
		return kana
	case unicode.Is(unicode.Hangul, r):
		return hangul
	}
	return strange
}
