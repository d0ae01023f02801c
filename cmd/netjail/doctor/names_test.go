package doctor

import (
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestNsswitch(t *testing.T) {
	for _, c := range []struct {
		text string
		want want
	}{
		{"", want{OK, "no line", "", ""}},
		{"hosts: files dns", want{OK, "hosts: files dns", "", ""}},
		{"#hosts: resolve\nhosts:\tfiles dns # resolve", want{OK, "hosts: files dns", "", ""}},
		{"hosts: files", want{OK, "no dns", "", ""}},
		{"hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns", want{OK, "refused to a jail: mymachines resolve; dns follows", "", ""}},
		{"hosts: files mdns4_minimal [NOTFOUND=return] dns", want{OK, "refused to a jail: mdns4_minimal", "", ""}},
		{"hosts:files mdns4_minimal[NOTFOUND=return]dns", want{OK, "refused to a jail: mdns4_minimal", "", ""}},
		{"hosts: files resolve", want{Lost, "dns does not follow", "by its name", "resolve [!UNAVAIL=return] dns"}},
		{"hosts: files resolve [UNAVAIL=return] dns", want{Lost, "dns does not follow", "by its name", "dns"}},
		{"hosts: resolve [!SUCCESS=return notfound=continue] dns", want{Lost, "dns does not follow", "by its name", "dns"}},
		{"hosts: resolve [!SUCCESS=return UNAVAIL=continue] dns", want{OK, "dns follows", "", ""}},
		{"hosts: [ ", want{OK, "no dns", "", ""}},
	} {
		t.Run(c.text, func(t *testing.T) { c.want.check(t, nsswitch(c.text)) })
	}
}

func TestParseServers(t *testing.T) {
	const text = "# nameserver 192.0.2.1\nnameserver 127.0.0.53\nnameserver\tfe80::1%eth0 \nsearch example.org\nnameserver nonsense\nnameserver\n"
	if got := servers(parseServers(text)); got != "127.0.0.53 (systemd-resolved), fe80::1%eth0" {
		t.Errorf("got %q", got)
	}
}

// TestServers: what is on this machine has to answer; one that cannot be
// reached is not enough, one that can be is.
func TestServers(t *testing.T) {
	const none = "127.77.1.2" // nobody serves names there
	v := at(t, map[string]string{"/etc/resolv.conf": "nameserver " + none + "\n"})
	want{Lost, none + ": ECONNREFUSED", "by its name", "nameserver"}.check(t, tryServers(t.Context(), v))
	v = at(t, nil)
	v.inside = true
	want{OK, "so 127.0.0.1", "", ""}.check(t, tryServers(t.Context(), v))
	if os.Getuid() != 0 {
		return // no port 53
	}
	l, err := net.Listen("tcp", "127.77.1.3:53")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	v = at(t, map[string]string{"/etc/resolv.conf": "nameserver " + none + "\nnameserver 127.77.1.3\n"})
	want{OK, "127.77.1.3", "", ""}.check(t, tryServers(t.Context(), v))
}

// TestFIFO: a FIFO where a file should be hangs nobody.
func TestFIFO(t *testing.T) {
	v := at(t, map[string]string{"/etc/other": ""})
	v.inside = true
	if err := unix.Mkfifo(v.path("/etc/resolv.conf"), 0o600); err != nil {
		t.Fatal(err)
	}
	want{OK, "not a regular file", "", ""}.check(t, tryServers(t.Context(), v))
}
