package terminal

import "unicode/utf8"

// keys tells single key strokes from what terminals and pastes send: an arrow
// key ends in a letter too.
type keys struct {
	state keyState
	param []byte // of a control sequence
	paste bool   // inside a bracketed paste
}

type keyState uint8

const (
	ground   keyState = iota
	escape            // after ESC
	sequence          // after ESC [
	single            // after ESC O
)

const (
	keyEOF   = 0x04 // Ctrl-D
	keyESC   = 0x1b
	maxParam = 16
)

// stroke reads one burst, the bytes that came without a pause, and returns its
// key: of a letter beyond ASCII the first byte, of nothing but Enter that. Only
// a key that came alone counts, at most followed by Enter.
func (k *keys) stroke(burst []byte) (key byte, ok bool) {
	var text []byte
	alone := k.state == ground && !k.paste
	for _, c := range burst {
		if !k.plain(c) {
			alone = false
			continue
		}
		if c != '\r' && c != '\n' {
			text = append(text, c)
		}
	}
	if len(text) == 0 {
		return keyEnter, alone && len(burst) > 0
	}
	_, size := utf8.DecodeRune(text)
	return text[0], alone && size == len(text)
}

// plain reports whether c stands for itself.
func (k *keys) plain(c byte) bool {
	switch k.state {
	case escape:
		k.state, k.param = ground, nil
		switch c {
		case '[':
			k.state = sequence
		case 'O':
			k.state = single
		case keyESC:
			k.state = escape
		}
		return false
	case single:
		k.state = ground
		return false
	case sequence:
		k.inSequence(c)
		return false
	}
	if c == keyESC {
		k.state = escape
		return false
	}
	return !k.paste
}

func (k *keys) inSequence(c byte) {
	if c < 0x40 || c > 0x7e { // a parameter
		if len(k.param) < maxParam {
			k.param = append(k.param, c)
		}
		return
	}
	k.state = ground
	if c == '~' {
		switch string(k.param) {
		case "200":
			k.paste = true
		case "201":
			k.paste = false
		}
	}
}
