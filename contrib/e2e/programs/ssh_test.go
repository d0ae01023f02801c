package programs

import (
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// sshServer accepts connections, counts them, and hands each to an sshd of the
// current user's own, which needs no privilege.
type sshServer struct {
	*e2etest.Server
	dir string
}

func newSSHServer(t *testing.T) *sshServer {
	t.Helper()
	sshd := e2etest.Need(t, "sshd") // which insists on an absolute path
	if os.Geteuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // its privilege separation directory
			t.Fatal(err)
		}
	}
	s := &sshServer{dir: t.TempDir()}
	for _, key := range []string{"host", "user"} {
		command(t, s.dir, nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", s.file(key))
	}
	config := strings.Join([]string{
		"HostKey " + s.file("host"), "AuthorizedKeysFile " + s.file("user.pub"), "UsePAM no", "StrictModes no",
		"PasswordAuthentication no", "KbdInteractiveAuthentication no", "PidFile none", "PermitRootLogin yes", "LogLevel ERROR",
	}, "\n") + "\n"
	if err := os.WriteFile(s.file("config"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Server = e2etest.Serve(t, "127.0.0.1:0", func(c net.Conn) {
		defer c.Close()
		f, err := c.(*net.TCPConn).File()
		if err != nil {
			return
		}
		defer f.Close()
		cmd := exec.Command(sshd, "-i", "-e", "-f", s.file("config"))
		cmd.Stdin, cmd.Stdout = f, f
		_ = cmd.Run() // a connection that says nothing is an error to it
	})
	return s
}

func (s *sshServer) file(name string) string { return filepath.Join(s.dir, name) }

// client returns the arguments of a client that runs a command.
func (s *sshServer) client(t *testing.T, command string) []string {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(s.Addr())
	return []string{
		"ssh", "-F", "/dev/null", "-i", s.file("user"), "-p", port, "-l", me.Username,
		"-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=60", "127.0.0.1", command,
	}
}

func TestSSH(t *testing.T) {
	e2etest.Need(t, "ssh")
	srv := newSSHServer(t)
	tests := []struct{ name, command, stdin string }{
		{"a command", "echo hello; exit 0", ""},
		{"a pipe", "tr a-z A-Z", strings.Repeat("some text\n", 20000)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := trial{
				args: srv.client(t, tt.command), dest: "tcp://" + srv.Addr(), count: srv, denied: denial{code: 255},
				prepare: func(cmd *exec.Cmd) { cmd.Stdin = strings.NewReader(tt.stdin) },
			}
			tr.run(t)
		})
	}
}

// TestSSHExitCode hands on the code of a remote command.
func TestSSHExitCode(t *testing.T) {
	srv := newSSHServer(t)
	h := e2etest.NewHome(t)
	r := h.Run(append([]string{"--no-prompt", "--allow", srv.Addr()}, srv.client(t, "exit 42")...)...)
	if r.Code != 42 {
		t.Errorf("code %d, want 42; stderr %q", r.Code, r.Stderr)
	}
}
