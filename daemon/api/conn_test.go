package api

import (
	"bytes"
	"encoding/json"
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
