package tui

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gdamore/tcell/v2"

	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// fake is a source with questions of its own, that can go away.
type fake struct {
	changes chan Change
	fails   chan error
	slow    chan struct{} // if not nil, actions wait for it

	mu   sync.Mutex
	acts []any
}

func newFake() *fake { return &fake{changes: make(chan Change, 16), fails: make(chan error)} }

func (f *fake) Watch(ctx context.Context, ready func(), tell func(Change)) error {
	ready()
	for {
		select {
		case c := <-f.changes:
			tell(c)
		case err := <-f.fails:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *fake) Look(_ context.Context, v View) (Contents, error) {
	switch v {
	case Connections:
		return Contents{Flows: testFlows()}, nil
	case Rules:
		return Contents{Rules: testRules()}, nil
	case History:
		return Contents{}, errors.New("no history here")
	}
	return Contents{Jails: testJails()}, nil
}

func (f *fake) did(ctx context.Context, what any) (string, error) {
	if f.slow != nil {
		<-f.slow
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acts = append(f.acts, what)
	return "it is done", ctx.Err()
}

func (f *fake) Answer(ctx context.Context, d Decision) (string, error) { return f.did(ctx, d) }
func (f *fake) End(ctx context.Context, w Flow) (string, error)        { return f.did(ctx, w.ID) }
func (f *fake) Stop(ctx context.Context, j Jail) (string, error)       { return f.did(ctx, j.ID) }
func (f *fake) Remove(ctx context.Context, r Rule) (string, error)     { return f.did(ctx, r.ID) }

func (f *fake) done() []any {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]any(nil), f.acts...)
}

// shot is a screen that remembers what it showed: nobody but its owner may look
// at a simulated screen.
type shot struct {
	tcell.SimulationScreen
	mu   sync.Mutex
	text string
}

func (s *shot) Show() {
	s.SimulationScreen.Show()
	d := desk{s: s.SimulationScreen}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = d.text()
}

func (s *shot) shows(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.text, text)
}

// session is a run on a simulated screen.
type session struct {
	t     *testing.T
	s     *shot
	src   *fake
	ended chan error
}

func start(t *testing.T, src *fake) *session {
	t.Helper()
	s := &session{t: t, s: &shot{SimulationScreen: tcell.NewSimulationScreen("UTF-8")}, src: src, ended: make(chan error, 1)}
	if err := s.s.Init(); err != nil {
		t.Fatal(err)
	}
	s.s.SetSize(80, 24)
	go func() { s.ended <- run(t.Context(), src, s.s) }()
	return s
}

// wait waits until the screen shows a text.
func (s *session) wait(text string) {
	s.t.Helper()
	for end := time.Now().Add(time.Minute); !s.s.shows(text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("the screen lacks %q:\n%s", text, s.s.text)
		}
	}
}

func (s *session) keys(keys string) {
	for _, r := range keys {
		s.s.InjectKey(tcell.KeyRune, r, tcell.ModNone)
	}
}

func (s *session) end() {
	s.t.Helper()
	select {
	case err := <-s.ended:
		if err != nil {
			s.t.Errorf("it ends with %v", err)
		}
	case <-time.After(time.Minute):
		s.t.Fatal("it does not end")
	}
}

func TestRun(t *testing.T) {
	src := newFake()
	s := start(t, src)
	s.wait("alive.github.com")
	src.changes <- Change{Question: curlAsks(t)}
	s.wait("curl wants to connect")
	s.wait("1 question, 3 jails, 5 connections")
	time.Sleep(2 * glance) // the person reads
	s.keys("A")
	s.wait("it is done")
	src.changes <- Change{Question: curlAsks(t), Closed: "answered"}
	s.wait("0 questions")
	s.keys("2")
	s.wait("tcp://.github.com:443")
	s.keys("xy")
	s.wait("it is done")
	s.keys("3")
	s.wait("no history here")
	src.fails <- errors.New("lost it")
	s.wait("NOT CONNECTED: lost it")
	s.wait("0 questions") // it comes back by itself
	s.keys("q")
	s.end()
	want := []any{Decision{ID: "0001", Verdict: rules.Allow, Lifetime: rules.Lifetime{Kind: rules.Always}, Scope: notifier.Host}, "a1"}
	if got := src.done(); !reflect.DeepEqual(got, want) {
		t.Errorf("done: %+v, want %+v", got, want)
	}
}

// TestQuit does nothing to a question that is open, and does what was said.
func TestQuit(t *testing.T) {
	src := newFake()
	s := start(t, src)
	src.changes <- Change{Question: curlAsks(t)}
	s.wait("curl wants to connect")
	s.s.InjectKey(tcell.KeyCtrlC, 0, tcell.ModCtrl)
	s.end()
	if got := src.done(); got != nil {
		t.Errorf("quitting does %v", got)
	}

	src = newFake()
	src.slow = make(chan struct{})
	s = start(t, src)
	src.changes <- Change{Question: curlAsks(t)}
	s.wait("curl wants to connect")
	time.Sleep(2 * glance)
	s.keys("dq")
	close(src.slow)
	s.end()
	if got := src.done(); len(got) != 1 {
		t.Errorf("an answer, then q: done: %v", got)
	}
}

func TestInput(t *testing.T) {
	key := tcell.NewEventKey
	for _, tt := range []struct {
		name string
		in   []tcell.Event
		want []event
	}{
		{"characters", []tcell.Event{key(tcell.KeyRune, 'A', 0), key(tcell.KeyRune, ' ', 0), key(tcell.KeyRune, '日', tcell.ModShift)},
			[]event{pressed{"A"}, pressed{"Space"}, pressed{"日"}}},
		{"with Alt", []tcell.Event{key(tcell.KeyRune, 'A', tcell.ModAlt)}, []event{pressed{"Alt-A"}}},
		{"names", []tcell.Event{key(tcell.KeyEscape, 0, 0), key(tcell.KeyEnter, 0, 0), key(tcell.KeyBackspace2, 0, 0), key(tcell.KeyCtrlZ, 0, tcell.ModCtrl), key(tcell.KeyBacktab, 0, 0)},
			[]event{pressed{"Esc"}, pressed{"Enter"}, pressed{"Backspace"}, pressed{"Ctrl-Z"}, pressed{"Backtab"}}},
		{"a paste", []tcell.Event{tcell.NewEventPaste(true), key(tcell.KeyRune, 'A', 0), key(tcell.KeyEnter, 0, 0), key(tcell.KeyRune, 'y', 0), tcell.NewEventPaste(false), key(tcell.KeyRune, 'q', 0)},
			[]event{pasted{"A y"}, pressed{"q"}}},
		{"a click", []tcell.Event{tcell.NewEventMouse(3, 4, tcell.Button1, 0), tcell.NewEventMouse(5, 4, tcell.Button1, 0), tcell.NewEventMouse(5, 4, 0, 0), tcell.NewEventMouse(1, 2, tcell.WheelDown, 0)},
			[]event{clicked{3, 4}, wheeled{wheelLines}}},
		{"a size", []tcell.Event{tcell.NewEventResize(80, 24)}, []event{resized{80, 24}}},
	} {
		var in input
		var got []event
		for _, ev := range tt.in {
			if e := in.read(ev); e != nil {
				got = append(got, e)
			}
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestText(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 9949: "9.9 kB", 9950: "10 kB", 999_499: "999 kB", 999_500: "1.0 MB", 1<<64 - 1: "18 EB"} {
		if got := bytesText(n, true); got != want || len(got) > 6 {
			t.Errorf("%d bytes: %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{-1: "0s", 59 * time.Second: "59s", time.Hour: "1h", 50 * time.Hour: "2d"} {
		if got := ageText(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	for _, tt := range []struct {
		text  string
		width int
		want  []string
	}{
		{"one two three", 7, []string{"one two", "three"}},
		{"a bcdefghijk l", 5, []string{"a bcd", "efghi", "jk l"}},
		{"", 5, nil},
		{"abc", 1, []string{"a", "b", "c"}},
		{"ab", 0, []string{"a", "b"}},
	} {
		if got := wrap(tt.text, tt.width); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("wrap(%q, %d) = %q, want %q", tt.text, tt.width, got, tt.want)
		}
	}
}
