package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/netjail/netjail/daemon/api"
)

// addJail adds a jail whose supervisor is told things through lines.
func (d *desk) addJail(app, id string, started time.Time) (*jail, chan string) {
	d.t.Helper()
	lines := make(chan string, 1000)
	j := &jail{
		reg: api.Registration{App: app, Jail: id}, pid: os.Getpid(), started: started,
		conn: api.NewConn(supervisor(lines), maxRequest), gone: make(chan struct{}),
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.jails[j] = struct{}{}
	return j, lines
}

// onlyJail is a server with one jail that was added.
func onlyJail(t *testing.T) (*desk, *jail, chan string) {
	t.Helper()
	d := newDesk(t, time.Minute)
	delete(d.jails, d.jail)
	j, lines := d.addJail("curl", "one", time.Now())
	return d, j, lines
}

// task reads the next event that a supervisor is told.
func task(t *testing.T, lines chan string) (string, api.Task) {
	t.Helper()
	var m api.Message
	var task api.Task
	select {
	case line := <-lines:
		if err := errors.Join(json.Unmarshal([]byte(line), &m), json.Unmarshal(m.Data, &task)); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the supervisor is told nothing")
	}
	return m.Event, task
}

// say makes a supervisor's request.
func (d *desk) say(j *jail, op string, v any) error {
	d.t.Helper()
	_, err := d.handle(d.t.Context(), j, peer{supervisor: true}, d.message(op, v))
	return err
}

// answer answers a request for connections, in two parts.
func (d *desk) answer(j *jail, lines chan string, ids ...string) {
	d.t.Helper()
	name, task := task(d.t, lines)
	if name != api.EventFlows {
		d.t.Fatalf("the supervisor is told %s", name)
	}
	for _, id := range ids {
		part := api.Flows{Request: task.Request, Count: 1, Flows: []api.Flow{{ID: id}}}
		if err := d.say(j, api.OpFlows, part); err != nil {
			d.t.Error(err)
		}
	}
	last := api.Flows{Request: task.Request, Last: true, More: 1, Unseen: 2, Problem: "no udp"}
	if err := d.say(j, api.OpFlows, last); err != nil {
		d.t.Error(err)
	}
	if err := d.say(j, api.OpFlows, last); err == nil {
		d.t.Error("a part behind the last is taken")
	}
}

// read is what a client gets.
func read(t *testing.T, v any) (c api.Connections) {
	t.Helper()
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// listed writes connections as "app/jail:id,id".
func listed(c api.Connections) string {
	var b strings.Builder
	for _, j := range c.Jails {
		fmt.Fprintf(&b, "%s/%s:", j.App, j.Jail)
		for _, f := range j.Flows {
			b.WriteString(f.ID + ",")
		}
		b.WriteString(" ")
	}
	return strings.TrimSpace(b.String())
}

// TestConnections has two jails, one of which has had another supervisor, and a
// third whose supervisor does not answer.
func TestConnections(t *testing.T) {
	d, one, oneLines := onlyJail(t)
	two, twoLines := d.addJail("npm", "two", one.started.Add(time.Second))
	_, oldLines := d.addJail("npm", "two", one.started)
	_, mute := d.addJail("mute", "three", one.started.Add(2*time.Second))
	d.wg.Go(func() { d.answer(one, oneLines, "a", "b") })
	d.wg.Go(func() { d.answer(two, twoLines, "c") })
	v, err := d.do(api.OpConnections, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := read(t, v)
	if list := listed(got); list != "curl/one:a,b, npm/two:c, mute/three:" {
		t.Errorf("got %s", list)
	}
	for i := range got.Jails {
		got.Jails[i].Flows = nil
	}
	want := []api.JailConnections{
		{App: "curl", Jail: "one", Problem: "no udp", More: 1, Unseen: 2},
		{App: "npm", Jail: "two", Problem: "no udp", More: 1, Unseen: 2},
		{App: "mute", Jail: "three", Silent: true, Problem: errNoAnswer.Error()},
	}
	if fmt.Sprint(got.Jails) != fmt.Sprint(want) {
		t.Errorf("got %+v\nwant %+v", got.Jails, want)
	}
	if len(oldLines) != 0 || len(mute) != 1 {
		t.Errorf("the former supervisor was told %d things, the mute one %d", len(oldLines), len(mute))
	}
	// One that has not answered is not asked again while it may still do so.
	d.wg.Go(func() { d.answer(one, oneLines) })
	d.wg.Go(func() { d.answer(two, twoLines) })
	if _, err := d.do(api.OpConnections, nil); err != nil || len(mute) != 1 {
		t.Errorf("%v, the mute supervisor was told %d things", err, len(mute))
	}
}

// TestConnectionsShared: who asks meanwhile shares the answer.
func TestConnectionsShared(t *testing.T) {
	d, j, lines := onlyJail(t)
	l, ask := j.tasks.join(time.Now())
	same, again := j.tasks.join(time.Now())
	if !ask || again || l != same {
		t.Errorf("asked %v, and again %v", ask, again)
	}
	other, ask := j.tasks.join(time.Now().Add(staleAfter))
	if !ask || other == l {
		t.Error("a stale listing is waited for")
	}
	if err := d.say(j, api.OpFlows, api.Flows{Request: l.request, Last: true}); err == nil {
		t.Error("a part of a listing that was given up is taken")
	}
	if len(lines) != 0 {
		t.Error("somebody was told something")
	}
}

// TestConnectionsBounds: what one jail has hides nothing of another.
func TestConnectionsBounds(t *testing.T) {
	d, j, _ := onlyJail(t)
	small, _ := d.addJail("npm", "two", j.started.Add(time.Second))
	sized := func(n int) *listing {
		return &listing{count: n, flows: fmt.Appendf(nil, `{"id":"%s"}`, strings.Repeat("x", n-len(`{"id":""}`)))}
	}
	list := []*jail{j, j, small}
	got := read(t, merge(list, []*listing{sized(20), sized(maxConnections - 30), sized(11)}, make([]error, 3)))
	for i, more := range []int{0, maxConnections - 30, 0} {
		if j := got.Jails[i]; j.More != more || (len(j.Flows) == 0) != (more != 0) {
			t.Errorf("jail %d: %d flows, and %d left out, want %d", i, len(j.Flows), j.More, more)
		}
	}
	// And of one that never ends little is kept.
	l, _ := j.tasks.join(time.Now())
	part := api.Flows{Request: l.request, Count: api.MaxFlows}
	for range api.MaxFlows {
		part.Flows = append(part.Flows, api.Flow{Names: []string{strings.Repeat("n", 1000)}})
	}
	for range 200 {
		if err := d.say(j, api.OpFlows, part); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.say(j, api.OpFlows, api.Flows{Request: l.request, Last: true, More: 7}); err != nil {
		t.Fatal(err)
	}
	if n := l.count; len(l.flows) > maxListing || n < 5000 || l.last.More != 200*api.MaxFlows-n+7 {
		t.Errorf("%d flows are kept, and %d left out", n, l.last.More)
	}
}

// TestPart: the longest part of an answer is a request that is taken.
func TestPart(t *testing.T) {
	f := api.Flow{
		ID: strings.Repeat("f", 16), Network: "udp", State: "UNCONNECTED", PID: 1 << 22, Inode: 1 << 32, Sent: 1 << 63, Received: 1 << 63,
		Since: time.Now(), Program: strings.Repeat("<", 60), Names: []string{strings.Repeat("n", 253), strings.Repeat("m", 253), strings.Repeat("o", 253)},
	}
	part := api.Flows{}
	for range api.MaxFlows {
		part.Flows = append(part.Flows, f)
	}
	line, err := json.Marshal(part)
	if err != nil || len(line) > maxRequest-10_000 {
		t.Errorf("%d bytes, %v, want less than %d", len(line), err, maxRequest)
	}
}

// TestControl ends connections and stops jails.
func TestControl(t *testing.T) {
	refused := &api.Error{Text: "gone", Code: api.CodeNotFound}
	end, stop := api.FlowEnd{Jail: "one", ID: "a"}, api.JailStop{Jail: "one"}
	tests := []struct {
		name  string
		op    string
		args  any
		event string
		flow  string
		fail  *api.Error
	}{
		{"end", api.OpEnd, end, api.EventEnd, "a", nil},
		{"end what is gone", api.OpEnd, end, api.EventEnd, "a", refused},
		{"stop", api.OpStop, stop, api.EventStop, "", nil},
		{"stop in vain", api.OpStop, stop, api.EventStop, "", refused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, j, lines := onlyJail(t)
			d.wg.Go(func() {
				name, task := task(t, lines)
				if name != tt.event || task.Flow != tt.flow {
					t.Errorf("the supervisor is told %s %+v", name, task)
				}
				if err := d.say(j, api.OpDone, api.Done{Request: task.Request + 1}); err == nil {
					t.Error("an answer to another request is taken")
				}
				if err := d.say(j, api.OpDone, api.Done{Request: task.Request, Error: tt.fail}); err != nil {
					t.Error(err)
				}
			})
			_, err := d.do(tt.op, tt.args)
			var said *api.Error
			if errors.As(err, &said); (err == nil) != (tt.fail == nil) || said != nil && *said != *tt.fail {
				t.Errorf("got %v, want %v", err, tt.fail)
			}
			if len(j.tasks.waiting) != 0 {
				t.Error("somebody is still waited for")
			}
		})
	}
}

// TestControlSuccessor has a supervisor that goes instead of answering.
func TestControlSuccessor(t *testing.T) {
	d, j, lines := onlyJail(t)
	var heir *jail
	var heirLines chan string
	d.wg.Go(func() {
		task(t, lines)
		heir, heirLines = d.addJail("curl", "one", j.started.Add(time.Second))
		d.leave(j)
		_, task := task(t, heirLines)
		if err := d.say(heir, api.OpDone, api.Done{Request: task.Request}); err != nil {
			t.Error(err)
		}
	})
	if _, err := d.do(api.OpEnd, api.FlowEnd{Jail: "one", ID: "a"}); err != nil {
		t.Error(err)
	}
	// The last one is gone before it can say that it has stopped.
	d.wg.Go(func() {
		task(t, heirLines)
		d.leave(heir)
	})
	if _, err := d.do(api.OpStop, api.JailStop{Jail: "one"}); err != nil {
		t.Error(err)
	}
	for op, args := range map[string]any{api.OpStop: api.JailStop{Jail: "one"}, api.OpEnd: api.FlowEnd{Jail: "one"}} {
		var said *api.Error
		if _, err := d.do(op, args); !errors.As(err, &said) || said.Code != api.CodeNotFound {
			t.Errorf("%s of a jail that is gone: %v", op, err)
		}
	}
}

// TestSupervisorMay: who speaks as a supervisor, as programs in jails do, can
// neither see nor stop what others do, nor answer for a jail that it has not.
func TestSupervisorMay(t *testing.T) {
	d, _, lines := onlyJail(t)
	for _, op := range []string{
		api.OpConnections, api.OpEnd, api.OpStop, api.OpFlows, api.OpDone, api.OpStatus, api.OpQuestionAnswer, api.OpRulesAdd,
	} {
		_, err := d.handle(t.Context(), nil, peer{supervisor: true}, d.message(op, api.JailStop{Jail: "one"}))
		var said *api.Error
		if !errors.As(err, &said) || said.Code != api.CodeRefused {
			t.Errorf("%s: got %v, want %s", op, err, api.CodeRefused)
		}
	}
	if len(lines) != 0 {
		t.Errorf("the supervisor was told %s", <-lines)
	}
	// The user may.
	ctx, cancel := context.WithCancel(t.Context())
	d.wg.Go(func() { task(t, lines); cancel() })
	if _, err := d.handle(ctx, nil, peer{}, d.message(api.OpStop, api.JailStop{Jail: "one"})); !errors.Is(err, errNoAnswer) {
		t.Errorf("got %v, want that the supervisor was asked", err)
	}
}
