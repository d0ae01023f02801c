package api

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
)

// TestEncode: a message is encoded as encoding/json would.
func TestEncode(t *testing.T) {
	for _, m := range []Message{
		{}, {V: 1, ID: 7, Op: "x"}, {V: 1, ID: 7, Data: json.RawMessage(`{"a":[1,"<"]}`)}, {Data: json.RawMessage("null")},
		{V: 1, Data: json.RawMessage("{\n \"a\": 1 }")}, {V: 1, Error: &Error{Text: "x\ny"}, Data: json.RawMessage(`"x"`)},
	} {
		got, err := m.encode()
		if err != nil || bytes.IndexByte(got, '\n') >= 0 {
			t.Errorf("%+v: %q, %v", m, got, err)
		}
		var back, want Message
		plain, err := json.Marshal(&m)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(plain, &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(got, &back); err != nil {
			t.Fatalf("%q: %v", got, err)
		}
		var a, b bytes.Buffer
		if len(back.Data) > 0 {
			_, _ = json.Compact(&a, back.Data), json.Compact(&b, want.Data)
		}
		back.Data, want.Data = nil, nil
		x, _ := json.Marshal(back)
		y, _ := json.Marshal(want)
		if !bytes.Equal(x, y) || len(a.Bytes()) != 0 && !jsonEqual(t, a.Bytes(), b.Bytes()) {
			t.Errorf("%+v: got %q, want %q", m, got, plain)
		}
	}
}

func jsonEqual(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		t.Fatalf("not JSON: %q, %q", a, b)
	}
	p, _ := json.Marshal(x)
	q, _ := json.Marshal(y)
	return bytes.Equal(p, q)
}

// said is a Conn's other end that has said something.
type said struct{ io.Reader }

func (said) Write(b []byte) (int, error) { return len(b), nil }
func (said) Close() error                { return nil }

// FuzzReceive reads what anybody may send. What is read is within the limit, and
// the same when it is sent and read once more.
func FuzzReceive(f *testing.F) {
	for _, seed := range []string{
		"", "\n", "{}\n", `{"v":1,"id":7,"op":"status"}` + "\n", `{"event":"snapshot","data":{"rules":[{"app":"x"}]}}` + "\n{}\n",
		`{"data":"\u0000","error":{"text":"x"}}` + "\n", `{"id":-1}` + "\n", `{"id":1e99}` + "\n", `{"v":1`, strings.Repeat("[", 300) + "\n", strings.Repeat("x", 600) + "\n",
	} {
		f.Add([]byte(seed))
	}
	const limit = 500
	f.Fuzz(func(t *testing.T, b []byte) {
		c := NewConn(said{bytes.NewReader(b)}, limit)
		for {
			m, err := c.Receive()
			if err != nil {
				return
			}
			if len(m.Op)+len(m.Event)+len(m.Data) > 4*limit { // an invalid byte becomes three
				t.Fatalf("%q: %d bytes", b, len(m.Op)+len(m.Event)+len(m.Data))
			}
			line, err := m.encode()
			if err != nil {
				t.Fatalf("%q: encode %+v: %v", b, m, err)
			}
			again := new(Message)
			if err := json.Unmarshal(line, again); err != nil || bytes.IndexByte(line, '\n') >= 0 {
				t.Fatalf("%q: sent as %q, %v", b, line, err)
			}
			if again.V != m.V || again.ID != m.ID || again.Op != m.Op || again.Event != m.Event || (again.Error == nil) != (m.Error == nil) {
				t.Fatalf("%q: got %+v, want %+v", b, again, m)
			}
		}
	})
}

// FuzzData reads each kind of data that a client or the daemon may send.
func FuzzData(f *testing.F) {
	for _, seed := range []string{
		"null", "{}", "[]", "7", `"x"`, `{"app":"x","verdict":"allow","destination":"tcp://*.example.org:1-2","lifetime":"until","expires":"2026-01-02T03:04:05Z"}`,
		`{"rules":[{"app":"@all","verdict":"deny","destination":"@any"}],"blocklist":"/x"}`, `{"app":"x","jail":"y","rules":[{}]}`,
		`{"id":"x","verdict":"deny","lifetime":"1h","scope":"domain"}`, `{"events":[{"time":"x"}]}`, `{"flows":[{"local":"[::1]:80"}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range []any{
			new(Registration), new(Snapshot), new(TerminalAnswer), new(Closed), new(RuleFilter), new(RuleList), new(Rule), new(Status), new(QuestionAnswer),
			new(QuestionChange), new(QuestionWatch), new(Report), new(HistoryFilter), new(HistoryPage), new(Flows), new(Task), new(Done), new(RuleText), new(RuleImport),
		} {
			if json.Unmarshal(b, v) != nil {
				continue
			}
			if _, err := json.Marshal(v); err != nil {
				t.Errorf("%q: a %T that is read cannot be sent: %v", b, v, err)
			}
			if r, ok := v.(*Rule); ok {
				_, _ = r.Rule()
			}
		}
	})
}
