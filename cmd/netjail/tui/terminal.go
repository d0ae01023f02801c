package tui

import (
	"errors"
	"os"
	"os/signal"
	"reflect"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/gdamore/tcell/v2"
	"github.com/gdamore/tcell/v2/terminfo"
	"golang.org/x/sys/unix"
)

// wheelLines is how far one notch of a mouse wheel goes.
const wheelLines = 3

// open takes the terminal.
func open() (tcell.Screen, error) {
	ti, err := tcell.LookupTerminfo(os.Getenv("TERM"))
	if err != nil {
		return nil, err
	}
	s, err := tcell.NewTerminfoScreenFromTtyTerminfo(nil, unpadded(ti))
	if err != nil {
		return nil, err
	}
	if err := s.Init(); err != nil {
		return nil, err
	}
	// For locales that have nothing but ASCII.
	for r, instead := range map[rune]string{'…': "~", '·': "-", unicode.ReplacementChar: "?"} {
		s.RegisterRuneFallback(r, instead)
	}
	s.EnableMouse(tcell.MouseButtonEvents)
	s.EnablePaste()
	return s, nil
}

// unpadded returns a description without padding, by which terminfo(5) has
// programs wait for a terminal of the seventies: what is called vt100 today needs
// none, and one screen would take a second.
func unpadded(ti *terminfo.Terminfo) *terminfo.Terminfo {
	padding := regexp.MustCompile(`\$<[0-9.]+[*/]*>`)
	c := *ti
	for _, f := range reflect.ValueOf(&c).Elem().Fields() {
		if f.Kind() == reflect.String {
			f.SetString(padding.ReplaceAllString(f.String(), ""))
		}
	}
	return &c
}

// errHangup means that the terminal is gone.
var errHangup = errors.New("the terminal is gone")

// input makes events of what the terminal says.
type input struct {
	pasting bool
	paste   strings.Builder
	down    bool // a mouse button is
}

// read returns the event that ev is, or nil.
func (in *input) read(ev tcell.Event) event {
	switch ev := ev.(type) {
	case *tcell.EventResize:
		w, h := ev.Size()
		return resized{w, h}
	case *tcell.EventPaste:
		in.pasting = ev.Start()
		if text := in.paste.String(); ev.End() {
			in.paste.Reset()
			return pasted{text}
		}
	case *tcell.EventMouse:
		return in.mouse(ev)
	case *tcell.EventKey:
		if in.pasting {
			in.pasted(ev)
			return nil
		}
		return pressed{keyName(ev)}
	}
	return nil
}

func (in *input) pasted(ev *tcell.EventKey) {
	r := ' '
	if ev.Key() == tcell.KeyRune {
		r = ev.Rune()
	}
	if in.paste.Len() < 4*maxFilter && unicode.IsPrint(r) {
		in.paste.WriteRune(r)
	}
}

func (in *input) mouse(ev *tcell.EventMouse) event {
	x, y := ev.Position()
	was := in.down
	in.down = ev.Buttons()&tcell.Button1 != 0
	switch {
	case ev.Buttons()&tcell.WheelUp != 0:
		return wheeled{-wheelLines}
	case ev.Buttons()&tcell.WheelDown != 0:
		return wheeled{wheelLines}
	case in.down && !was:
		return clicked{x, y}
	}
	return nil
}

// keyName is what bindings call a key.
func keyName(ev *tcell.EventKey) string {
	if ev.Key() == tcell.KeyRune {
		switch {
		case ev.Modifiers()&^tcell.ModShift != 0:
			return "Alt-" + string(ev.Rune())
		case ev.Rune() == ' ':
			return "Space"
		}
		return string(ev.Rune())
	}
	switch ev.Key() {
	case tcell.KeyBackspace, tcell.KeyBackspace2:
		return "Backspace"
	}
	return tcell.KeyNames[ev.Key()]
}

// stopped is how long a process that is told to stop may go on for.
const stopped = 200 * time.Millisecond

// sleep gives the terminal back and stops, as Ctrl-Z does elsewhere, until
// somebody continues the process. Where nobody could, it goes on at once.
func sleep(s tcell.Screen) error {
	if err := s.Suspend(); err != nil {
		return err
	}
	woken := make(chan os.Signal, 1)
	signal.Notify(woken, unix.SIGCONT)
	defer signal.Stop(woken)
	if err := unix.Kill(0, unix.SIGTSTP); err != nil {
		return err
	}
	select {
	case <-woken:
	case <-time.After(stopped): // in an orphaned process group the signal does nothing
	}
	return s.Resume()
}
