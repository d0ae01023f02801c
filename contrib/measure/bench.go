package main

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// config is what the command line says.
type config struct {
	netjail, user string
	rounds        int
	guards        []string
}

// bench is what the sections share: programs, a home with a daemon of its own, and
// servers.
type bench struct {
	config
	dir        string
	load, null string // programs/*.c
	credential *syscall.Credential
	env        []string
	guard      string
	service    string // the socket of the guard service; "": there is none
	servers    servers
	closers    []func()
}

//go:embed programs/load.c
var loadSource []byte

//go:embed programs/null.c
var nullSource []byte

func newBench(c config) (b *bench, err error) {
	b = &bench{config: c}
	// Not below a long path: that of a socket has 108 bytes.
	if b.dir, err = os.MkdirTemp("", "nj"); err != nil {
		return nil, err
	}
	b.closers = append(b.closers, func() { os.RemoveAll(b.dir) })
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if err := os.Chmod(b.dir, 0o755); err != nil {
		return nil, err
	}
	if b.load, err = b.compile("load", loadSource); err != nil {
		return nil, err
	}
	if b.null, err = b.compile("null", nullSource); err != nil {
		return nil, err
	}
	if err := b.home(); err != nil {
		return nil, err
	}
	if len(b.guards) == 0 {
		b.guards = []string{"strict", "landlock", "nft"}
	}
	if b.servers, err = b.serve(nil); err != nil {
		return nil, err
	}
	// The guard of what is measured under one alone. This also starts the daemon.
	if _, err := b.output(b.netjail, "--no-prompt", "--guard", "landlock", "--", "true"); err == nil {
		b.guard = "landlock"
	} else if _, err := b.output(b.netjail, "--no-prompt", "--guard", "strict", "--", "true"); err == nil {
		b.guard = "strict"
	} else {
		return nil, err
	}
	b.closers = append(b.closers, func() {
		if pid, err := b.daemon(); err == nil {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
	})
	return b, nil
}

func (b *bench) close() {
	for i := len(b.closers) - 1; i >= 0; i-- {
		b.closers[i]()
	}
}

func (b *bench) compile(name string, source []byte) (string, error) {
	path := filepath.Join(b.dir, name)
	cmd := exec.Command("gcc", "-O2", "-pthread", "-o", path, "-xc", "-")
	cmd.Stdin = bytes.NewReader(source)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile %s.c: %w\n%s", name, err, out)
	}
	return path, nil
}

// home makes a home directory, of the ordinary user where there is one to choose.
func (b *bench) home() error {
	home := filepath.Join(b.dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		return err
	}
	b.env = []string{"HOME=" + home, "XDG_RUNTIME_DIR=" + home, "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"}
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup(b.user)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	b.credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(home, uid, gid)
}

// command returns one that runs as the ordinary user, without a terminal, and does
// not outlive this process.
func (b *bench) command(argv ...string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Dir, cmd.Stderr = b.env, b.dir, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: b.credential}
	return cmd
}

// output runs a command to its end.
func (b *bench) output(argv ...string) (string, error) {
	out, err := b.command(argv...).Output()
	if err != nil {
		err = fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return string(out), err
}

// guardService starts the service behind the guard nft, in this network.
func (b *bench) guardService() error {
	if b.service != "" {
		return nil
	}
	if b.credential == nil || os.Getenv(ownEnv) == "" {
		return errRoot
	}
	path := filepath.Join(b.dir, "guard.sock")
	cmd := b.command(b.netjail, "guard", "--socket", path)
	cmd.SysProcAttr.Credential, cmd.Stderr = nil, nil
	if err := cmd.Start(); err != nil {
		return err
	}
	b.closers = append(b.closers, func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			b.service = path
			return nil
		}
	}
	return errors.New("the guard service does not start")
}

// daemon returns the process id of netjail's daemon.
func (b *bench) daemon() (int, error) {
	text, err := os.ReadFile(filepath.Join(b.dir, "home", "netjail", "lock"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

var errRoot = errors.New("can be measured by root alone")

// need says whether a program is there.
func need(program string) error {
	if _, err := exec.LookPath(program); err != nil {
		return fmt.Errorf("%s is not installed", program)
	}
	return nil
}
