package desk

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
	"github.com/netjail/netjail/daemon/api"
	"github.com/netjail/netjail/notifier"
	"github.com/netjail/netjail/rules"
)

// watcher is a front end: it is told of every question.
type watcher struct {
	t      *testing.T
	client *api.Client

	mu     sync.Mutex
	open   map[string]notifier.Question
	closed map[string]string
	most   int // open at once
}

func watch(t *testing.T, h *e2etest.Home) *watcher {
	t.Helper()
	w := &watcher{t: t, open: make(map[string]notifier.Question), closed: make(map[string]string)}
	var err error
	if w.client, err = api.Dial(socket(h), w.event); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.client.Close() })
	if err := w.client.Listen(); err != nil {
		t.Fatal(err)
	}
	if err := w.client.Call(t.Context(), api.OpQuestionWatch, api.QuestionWatch{Asks: true}, nil); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *watcher) event(m *api.Message) {
	var c api.QuestionChange
	if err := json.Unmarshal(m.Data, &c); err != nil {
		w.t.Error(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.Closed != "" {
		delete(w.open, c.Question.ID)
		w.closed[c.Question.ID] = c.Closed
		return
	}
	w.open[c.Question.ID] = c.Question
	w.most = max(w.most, len(w.open))
}

// questions returns what is open, the summaries apart.
func (w *watcher) questions() (single, summaries []notifier.Question) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, q := range w.open {
		if q.Summary() {
			summaries = append(summaries, q)
		} else {
			single = append(single, q)
		}
	}
	slices.SortFunc(single, func(a, b notifier.Question) int { return strings.Compare(a.Dest.String(), b.Dest.String()) })
	return single, summaries
}

func (w *watcher) answer(q notifier.Question, v rules.Verdict, l rules.LifetimeKind) {
	w.t.Helper()
	in := api.QuestionAnswer{ID: q.ID, Verdict: v, Lifetime: rules.Lifetime{Kind: l}, Through: q.Last()}
	if err := w.client.Call(w.t.Context(), api.OpQuestionAnswer, in, nil); err != nil {
		w.t.Errorf("answer %s: %v", q.Dest, err)
	}
}

func waiting(list []notifier.Question) (n int) {
	for _, q := range list {
		n += q.Waiting
	}
	return n
}

// connectAll makes that many processes, which connect to each of the ports at
// once, and prints what became of it: "PORT ok" or "PORT errno".
const connectAll = `
import os, socket, sys, threading
def connect(port):
    s = socket.socket()
    try:
        s.connect(("127.0.0.1", port))
        line = "%d ok\n" % port
    except OSError as e:
        line = "%d %d\n" % (port, e.errno)
    os.write(1, line.encode())
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        threads = [threading.Thread(target=connect, args=(int(p),)) for p in sys.argv[2:]]
        [t.start() for t in threads]
        [t.join() for t in threads]
        os._exit(0)
try:
    while True: os.wait()
except ChildProcessError:
    pass`

// outcomes counts the lines that connectAll prints.
func outcomes(r e2etest.Result) map[string]int {
	m := make(map[string]int)
	for _, line := range strings.Fields(strings.ReplaceAll(r.Stdout, " ", ":")) {
		m[line]++
	}
	return m
}

// TestStormOfApps has 500 processes of 40 apps ask about 40 destinations at
// once: 40 questions, most of them answered in an order of their own, the others
// not at all, and no call hangs.
func TestStormOfApps(t *testing.T) {
	const apps, processes = 40, 500
	h := e2etest.NewHome(t)
	daemon(t, h, "--question-timeout", "30s")
	w := watch(t, h)
	servers := make([]*server, apps)
	runs := make([]<-chan e2etest.Result, apps)
	calls := make([]int, apps)
	for i := range apps {
		servers[i] = listen(t)
		calls[i] = processes / apps
		if i < processes%apps {
			calls[i]++
		}
		runs[i] = later(h, h.Command("--as", fmt.Sprintf("app%02d", i), "python3", "-c", connectAll,
			fmt.Sprint(calls[i]), fmt.Sprint(servers[i].Port())))
	}
	var open []notifier.Question
	e2etest.WaitFor(t, "all calls wait", func() bool {
		open, _ = w.questions()
		return waiting(open) == processes
	})
	if _, summaries := w.questions(); len(open) != apps || len(summaries) != 0 {
		t.Fatalf("%d questions and %d summaries, want %d and none", len(open), len(summaries), apps)
	}
	allowed := func(app string) bool { return app[len(app)-1]%2 == 0 }
	ignored := func(app string) bool { return app[len(app)-1] == '3' }
	for i := range open { // the even ones from the front, the odd ones from the back
		q := open[i]
		if i%2 == 1 {
			q = open[len(open)-1-i/2*2-len(open)%2]
		}
		v := rules.Deny
		if allowed(q.App) {
			v = rules.Allow
		}
		if !ignored(q.App) {
			w.answer(q, v, rules.Once)
		}
	}
	for i := range apps {
		r := <-runs[i]
		ok := fmt.Sprintf("%d:ok", servers[i].Port())
		denied := fmt.Sprintf("%d:13", servers[i].Port())
		want, reached := denied, 0
		if allowed(fmt.Sprintf("app%02d", i)) {
			want, reached = ok, calls[i]
		}
		if got := outcomes(r); got[want] != calls[i] || len(got) != 1 {
			t.Errorf("app%02d: got %v, want %d times %s\n%s", i, got, calls[i], want, r.Stderr)
		}
		servers[i].wantReached(t, fmt.Sprintf("app%02d", i), reached)
	}
	e2etest.WaitFor(t, "all questions are closed", func() bool { open, _ := w.questions(); return len(open) == 0 })
	w.mu.Lock()
	defer w.mu.Unlock()
	n := make(map[string]int)
	for _, why := range w.closed {
		n[why]++
	}
	if n[api.ClosedAnswered] != apps-4 || n[api.ClosedTimeout] != 4 {
		t.Errorf("closed: %v, want %d answered and 4 timed out", n, apps-4)
	}
	wantRules(t, h)
}

// TestStormOfOne has one app ask about 40 destinations at once: four questions
// and a summary, which decides the rest in one answer.
func TestStormOfOne(t *testing.T) {
	const ports = 40
	for _, tt := range []struct {
		name   string
		act    func(*testing.T, *watcher, []notifier.Question, notifier.Question)
		errno  string // of the calls in the summary
		closed string
	}{
		{"allow", func(t *testing.T, w *watcher, single []notifier.Question, s notifier.Question) {
			w.answer(s, rules.Allow, rules.UntilExit)
		}, "ok", api.ClosedAnswered},
		{"deny", func(t *testing.T, w *watcher, single []notifier.Question, s notifier.Question) {
			w.answer(s, rules.Deny, rules.UntilExit)
		}, "13", api.ClosedAnswered},
		{"nobody answers", func(*testing.T, *watcher, []notifier.Question, notifier.Question) {}, "13", api.ClosedTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := e2etest.NewHome(t)
			timeout := "1m"
			if tt.closed == api.ClosedTimeout {
				timeout = "6s"
			}
			daemon(t, h, "--question-timeout", timeout)
			w := watch(t, h)
			args := []string{"python3", "-c", connectAll, "1"}
			servers := make(map[string]*server)
			for range ports {
				s := listen(t)
				servers[fmt.Sprint(s.Port())] = s
				args = append(args, fmt.Sprint(s.Port()))
			}
			run := later(h, h.Command(args...))
			var open, summaries []notifier.Question
			e2etest.WaitFor(t, "all calls wait", func() bool {
				open, summaries = w.questions()
				return waiting(open) == ports && len(summaries) == 1 && summaries[0].Waiting == ports-4
			})
			var single []notifier.Question
			for _, q := range open {
				if q.Summarized == "" {
					single = append(single, q)
				}
			}
			s := summaries[0]
			if len(single) != 4 || len(s.Items) != ports-4 || s.Headline() != "python3 wants 36 more hosts" {
				t.Fatalf("%d questions by themselves, and %q of %d", len(single), s.Headline(), len(s.Items))
			}
			for _, srv := range servers {
				if n := srv.Count(); n != 0 {
					t.Fatalf("%d connections before the answer", n)
				}
			}
			if tt.closed == api.ClosedAnswered {
				for _, q := range single {
					w.answer(q, rules.Allow, rules.Once)
				}
			}
			tt.act(t, w, single, s)
			r := <-run
			got := outcomes(r)
			for port, srv := range servers {
				want := tt.errno
				if tt.closed == api.ClosedAnswered && slices.ContainsFunc(single, func(q notifier.Question) bool { return q.Dest.Ports.String() == port }) {
					want = "ok"
				}
				reached := 0
				if want == "ok" {
					reached = 1
				}
				if got[port+":"+want] != 1 {
					t.Errorf("port %s: want %s once; got %v", port, want, got)
				}
				srv.wantReached(t, "port "+port, reached)
			}
			e2etest.WaitFor(t, "the summary is closed", func() bool {
				w.mu.Lock()
				defer w.mu.Unlock()
				return w.closed[s.ID] == tt.closed
			})
			e2etest.WaitFor(t, "what holds until exit is gone", func() bool { return len(rulesOf(t, h)) == 0 })
			if files, _ := readDir(h.Rules()); len(files) != 0 {
				t.Errorf("rules were written: %v", files)
			}
		})
	}
}

// TestFrontEnd answers by the example of a front end, where there is neither a
// desktop nor a terminal.
func TestFrontEnd(t *testing.T) {
	h := e2etest.NewHome(t)
	srv := listen(t)
	daemon(t, h)
	wantResult(t, "with nobody to ask", h.Run("curl", "-s", srv.url()), 7, "there is no terminal and no desktop")
	out := newFrontEnd(t, h)
	for i, want := range []struct {
		say  string
		code int
	}{{"allow", 0}, {"deny", 7}, {"", 7}} {
		run := later(h, h.Command("curl", "-s", srv.url()))
		out.wait(fmt.Sprintf(`'curl' wants to connect: 'tcp://%s', allow or deny? `, srv.Addr()))
		srv.wantReached(t, "before the answer", min(i, 1))
		out.say(want.say)
		wantResult(t, fmt.Sprintf("run %d", i), <-run, want.code)
	}
	srv.wantReached(t, "in the end", 1)
	out.stop()
	wantResult(t, "when it has gone", h.Run("curl", "-s", srv.url()), 7, "there is no terminal and no desktop")
	wantRules(t, h)
}
