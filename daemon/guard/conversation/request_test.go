package conversation

import (
	"testing"

	"github.com/netjail/netjail/daemon/guard/client"
)

// FuzzRequest: what is taken for a request names what the kernel can be told of.
func FuzzRequest(f *testing.F) {
	for _, line := range []string{
		`{"id":1,"op":"confine","network":7}`,
		`{"id":2,"op":"allow","dests":[{"proto":"tcp","addr":"192.0.2.1","port":443,"timeout_ms":1000}]}`,
		`{"op":"deny","dests":[{"proto":"icmp","addr":"2001:db8::1"}]}`,
		`{"op":"forget","dests":[{"proto":"udp","addr":"192.0.2.1","port":53}]}`,
		`{"op":"lead","to":"127.0.0.1:5300","servers":["192.0.2.1:53","[::ffff:192.0.2.2]:53"]}`,
		`{"op":"listen","dests":[{"proto":"udp","port":53}]}`,
		`{"op":"allow","dests":[{"proto":"tcp","addr":"::ffff:192.0.2.1","port":443,"timeout_ms":9223372036854775807}]}`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decode(b)
		if err != nil {
			return
		}
		for _, local := range []bool{true, false} {
			if l, err := leadOf(r, 1); err == nil && (!l.To.Addr().IsLoopback() || l.Check() != nil) {
				t.Errorf("got %+v", l)
			}
			list, err := destsOf(r, local)
			if err != nil {
				continue
			}
			if len(list) == 0 || len(list) > client.MaxDests {
				t.Fatalf("%d destinations", len(list))
			}
			for i := range list {
				if err := list[i].Check(local); err != nil || list[i].Timeout > maxTimeout {
					t.Errorf("got %+v: %v", list[i], err)
				}
			}
		}
	})
}
