package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// strace stops programs at the calls that netjail decides about, and prints them.
func strace() place {
	return place{name: "strace -f --seccomp-bpf", missing: need("strace"), prefix: []string{
		"strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=connect,bind,listen,sendto,sendmsg,sendmmsg",
	}}
}

// peers compares with what else decides about, or redirects, connections.
func peers(b *bench) []row {
	return b.compare("TCP socket+connect+close, 1 thread", b.jail(b.guard), work("tcp", 50, toQueue, 1),
		versus{place: b.opensnitch(), aim: atLeast(50, " ×"), peer: true},
		versus{place: b.proxychains(), aim: atLeast(1, " ×"), peer: true},
		versus{place: b.bypass4netns(), aim: atLeast(1, " ×"), peer: true})
}

// opensnitch is a place where OpenSnitch's daemon allows everything: a network of
// its own, because the daemon puts rules there for all programs.
func (b *bench) opensnitch() place {
	p := place{name: "OpenSnitch 1.5.8 (proc)", root: true}
	pid, err := b.startOpenSnitch()
	if err != nil {
		p.missing = err
		return p
	}
	enter := []string{"nsenter", "--target", strconv.Itoa(pid), "--net", "--"}
	s, err := b.serve(enter)
	if err != nil {
		p.missing = err
		return p
	}
	u := b.credential
	p.servers = &s
	p.prefix = append(enter, "setpriv", "--reuid", strconv.Itoa(int(u.Uid)), "--regid", strconv.Itoa(int(u.Gid)), "--clear-groups", "--")
	return p
}

const openSnitchConfig = `{"Server": {"Address": "unix:///nowhere", "LogFile": "/dev/null"}, "DefaultAction": "allow", "DefaultDuration": "once",
"InterceptUnknown": false, "ProcMonitorMethod": "proc", "LogLevel": 4, "Firewall": "iptables", "Stats": {"MaxEvents": 150, "MaxStats": 25}}`

// startOpenSnitch returns the daemon's process id.
func (b *bench) startOpenSnitch() (int, error) {
	if b.credential == nil || os.Getenv(ownEnv) == "" {
		return 0, errRoot
	}
	if err := need("opensnitchd"); err != nil {
		return 0, err
	}
	rules := filepath.Join(b.dir, "opensnitch")
	if err := os.Mkdir(rules, 0o700); err != nil {
		return 0, err
	}
	config := filepath.Join(b.dir, "opensnitch.json")
	if err := os.WriteFile(config, []byte(openSnitchConfig), 0o600); err != nil {
		return 0, err
	}
	const script = `ip link set lo up && mount --bind "$0" /etc/opensnitchd/default-config.json && exec opensnitchd -rules-path "$1"`
	cmd := exec.Command("unshare", "--net", "--mount", "sh", "-c", script, config, rules)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	b.closers = append(b.closers, func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	time.Sleep(3 * time.Second) // nothing says that it is ready
	return cmd.Process.Pid, nil
}

// proxychains is a place where connections are led to a proxy by a library that
// takes connect's place in the program.
func (b *bench) proxychains() place {
	p := place{name: "proxychains4", missing: need("proxychains4")}
	if p.missing != nil {
		return p
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.missing = err
		return p
	}
	b.closers = append(b.closers, func() { l.Close() })
	go serveSOCKS(l)
	config := filepath.Join(b.dir, "proxychains.conf")
	text := fmt.Sprintf("strict_chain\nquiet_mode\n[ProxyList]\nsocks5 127.0.0.1 %d\n", l.Addr().(*net.TCPAddr).Port)
	if p.missing = os.WriteFile(config, []byte(text), 0o644); p.missing == nil {
		p.prefix = []string{"proxychains4", "-q", "-f", config}
	}
	return p
}

func serveSOCKS(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_ = socks(c)
		}()
	}
}

// socks makes one connection for a client of RFC 1928 to an IPv4 address, and
// waits until the client has enough of it.
func socks(c net.Conn) error {
	r := bufio.NewReader(c)
	var greeting [2]byte
	if _, err := io.ReadFull(r, greeting[:]); err != nil {
		return err
	}
	if _, err := r.Discard(int(greeting[1])); err != nil {
		return err
	}
	if _, err := c.Write([]byte{5, 0}); err != nil {
		return err
	}
	var q [10]byte
	if _, err := io.ReadFull(r, q[:]); err != nil {
		return err
	}
	if q[3] != 1 {
		return errors.New("no IPv4 address")
	}
	to := &net.TCPAddr{IP: q[4:8], Port: int(q[8])<<8 | int(q[9])}
	up, err := net.DialTCP("tcp", nil, to)
	if err != nil {
		return err
	}
	defer up.Close()
	if _, err := c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return err
}

// bypass4netns is started by runc, and gets what it supervises from there.
func (b *bench) bypass4netns() place {
	return place{name: "bypass4netns", missing: errors.New("cannot be had without a container runtime")}
}
