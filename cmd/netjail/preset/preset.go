// Package preset finds out which hosts a tool is configured to use on this
// machine: mirrors, company registries, the remotes of a repository.
//
//	p, err := preset.Find(ctx, "npm", preset.Here())
//	for _, e := range p.Entries {
//		fmt.Println(e.Dest, e.From)
//	}
//
// It asks the tools and reads their files, and knows no host by itself. A file
// of the user's own, one destination a line, makes a preset too. What a tool
// finds out only while it runs, such as where a registry keeps its files, is not
// among the hosts: netjail learn sees that.
package preset

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/netjail/netjail/rules"
)

// Entry is one destination, and what names it.
type Entry struct {
	Dest rules.Destination
	From string // "npm config", "/etc/apt/sources.list:3"
}

// Preset is what a tool is configured to use.
type Preset struct {
	Name    string
	Entries []Entry
	Notes   []string // what is not among the entries, for people
}

// System is where presets look. Its fields are set by tests, and by Here.
type System struct {
	Dir     string // the working directory, in which tools are asked
	Home    string // the user's
	Root    string // of /etc
	Presets string // directory of the user's own presets
	Env     []string
}

// Here is this process's system.
func Here() (System, error) {
	dir, err := os.Getwd()
	if err != nil {
		return System{}, err
	}
	config, err := os.UserConfigDir()
	if err != nil {
		return System{}, fmt.Errorf("presets: %w", err)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return System{}, fmt.Errorf("presets: %w", err)
	}
	return System{Dir: dir, Home: home, Root: "/", Presets: filepath.Join(config, "netjail", "presets"), Env: os.Environ()}, nil
}

// tools are the presets that ask a tool.
var tools = map[string]func(context.Context, *System, *Preset) error{
	"apt": apt, "cargo": cargo, "git": git, "go": golang, "npm": npm, "pip": pip,
}

// ErrUnknown is a preset that there is not.
var ErrUnknown = errors.New("no such preset")

// Names lists the presets that there are, the user's own too.
func Names(s System) []string {
	var names []string
	for name := range tools {
		names = append(names, name)
	}
	files, _ := os.ReadDir(s.Presets)
	for _, f := range files {
		if !f.IsDir() && !strings.HasPrefix(f.Name(), ".") {
			names = append(names, f.Name())
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Find returns a preset. A file of the user's own comes before a tool. A preset
// without any destination is an error: what it was for would be refused.
func Find(ctx context.Context, name string, s System) (Preset, error) {
	p := Preset{Name: name}
	if name == "" || strings.ContainsAny(name, "/\x00") || name[0] == '.' {
		return p, fmt.Errorf("preset %q: %w", name, ErrUnknown)
	}
	file := filepath.Join(s.Presets, name)
	text, err := os.ReadFile(file)
	switch f := tools[name]; {
	case err == nil:
		err = p.parseFile(file, text)
	case !errors.Is(err, os.ErrNotExist):
	case f == nil:
		err = ErrUnknown
	default:
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		err = f(ctx, &s, &p)
	}
	if err == nil && len(p.Entries) == 0 {
		err = errors.New(strings.Join(append([]string{"it names no host"}, p.Notes...), ": "))
	}
	if err != nil {
		return p, fmt.Errorf("preset %s: %w", name, err)
	}
	return p, nil
}

// parseFile reads a preset of the user's own.
func (p *Preset) parseFile(name string, text []byte) error {
	n := 0
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		n++
		line, _, _ := strings.Cut(lines.Text(), "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		dests, err := rules.ParseDestinations(line)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", name, n, err)
		}
		for _, d := range dests {
			p.add(d, fmt.Sprintf("%s:%d", name, n))
		}
	}
	return nil
}

func (p *Preset) add(d rules.Destination, from string) {
	if !slices.ContainsFunc(p.Entries, func(e Entry) bool { return e.Dest == d }) {
		p.Entries = append(p.Entries, Entry{d, from})
	}
}

func (p *Preset) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

// ports are those of URLs without one.
var ports = map[string]uint16{"http": 80, "https": 443, "ssh": 22, "git": 9418}

// addURL adds what a URL leads to. One that leads to no host adds nothing.
func (p *Preset) addURL(text, from string) error {
	text = strings.Trim(strings.TrimPrefix(strings.TrimSpace(text), "sparse+"), `"'`)
	u, err := url.Parse(text)
	if err != nil {
		return fmt.Errorf("%s: not a URL", from) // it may hold a password
	}
	if u.Scheme == "file" || u.Host == "" {
		return nil
	}
	scheme := u.Scheme[strings.LastIndexByte(u.Scheme, '+')+1:] // git+ssh
	port := ports[scheme]
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		port = uint16(n)
	}
	if port == 0 {
		p.note("%s: nothing is known of %s: URLs", from, u.Scheme)
		return nil
	}
	return p.addHost(u.Hostname(), port, from)
}

func (p *Preset) addHost(host string, port uint16, from string) error {
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		host = "[" + host + "]"
	}
	d, err := rules.ParseDestination(fmt.Sprintf("tcp://%s:%d", host, port))
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	if k := d.Host.Kind; k != rules.HostName && k != rules.HostAddr {
		return fmt.Errorf("%s: %q is no host", from, host)
	}
	p.add(d, from)
	return nil
}

// addProxies adds the proxies that tools take from the environment.
func (p *Preset) addProxies(s *System) error {
	for _, name := range []string{"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"} {
		value := s.getenv(name)
		if value == "" {
			continue
		}
		if !strings.Contains(value, "://") {
			value = "http://" + value
		}
		if err := p.addURL(value, "$"+name); err != nil {
			return err
		}
	}
	return nil
}

func (s *System) getenv(name string) string {
	for _, kv := range s.Env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

const (
	// askTimeout bounds what a tool takes to say how it is configured.
	askTimeout = 20 * time.Second

	// maxSaid bounds what is read of it.
	maxSaid = 4 << 20
)

// ask runs a tool and returns what it prints.
func (s *System) ask(ctx context.Context, name string, args ...string) ([]byte, error) {
	path, err := s.look(name)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Env = s.Dir, s.Env
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = limited{&out}, limited{&stderr}
	if err := cmd.Run(); err != nil {
		why, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		if why == "" {
			why = "it says nothing"
		}
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, why)
	}
	return out.Bytes(), nil
}

// look finds a tool in the PATH of the system.
func (s *System) look(name string) (string, error) {
	for _, dir := range filepath.SplitList(s.getenv("PATH")) {
		if !filepath.IsAbs(dir) {
			continue // what lies in the working directory is not run
		}
		path := filepath.Join(dir, name)
		if fi, err := os.Stat(path); err == nil && fi.Mode().IsRegular() && fi.Mode().Perm()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}

// limited takes the first part of what is written.
type limited struct{ *bytes.Buffer }

func (l limited) Write(b []byte) (int, error) {
	if room := maxSaid - l.Len(); room > 0 {
		l.Buffer.Write(b[:min(len(b), room)])
	}
	return len(b), nil
}
