package service

import (
	"strings"
	"testing"
)

func TestJailed(t *testing.T) {
	for group, want := range map[string]bool{
		"/": false, "/user.slice/session-1.scope": false, "/a/netjail-0123": true, "/a/netjail-0123/below": true,
		"/a/not-netjail-0123": false, "/netjail": false,
	} {
		if got := jailed(group); got != want {
			t.Errorf("%s: got %v", group, got)
		}
	}
}

func TestNewID(t *testing.T) {
	a, b := newID(), newID()
	if a == b || len(a) != 2*idLen || strings.Trim(a, "0123456789abcdef") != "" {
		t.Errorf("got %q, then %q", a, b)
	}
}
