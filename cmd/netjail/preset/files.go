package preset

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func sortEntries(p *Preset) {
	slices.SortFunc(p.Entries, func(a, b Entry) int { return cmp.Compare(a.From, b.From) })
}

// apt reads the sources, sources.list(5), and asks for proxies.
func apt(ctx context.Context, s *System, p *Preset) error {
	etc := filepath.Join(s.Root, "etc", "apt")
	names := []string{filepath.Join(etc, "sources.list")}
	for _, pattern := range []string{"*.list", "*.sources"} {
		more, _ := filepath.Glob(filepath.Join(etc, "sources.list.d", pattern))
		names = append(names, more...)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("apt sources: %w", err)
		}
		urls := listURLs
		if strings.HasSuffix(name, ".sources") {
			urls = deb822URLs
		}
		for n, u := range urls(string(text)) {
			if err := p.addURL(u, fmt.Sprintf("%s:%d", name, n)); err != nil {
				return err
			}
		}
	}
	if out, err := s.ask(ctx, "apt-config", "shell", "A", "Acquire::http::Proxy", "B", "Acquire::https::Proxy"); err == nil {
		for line := range strings.Lines(string(out)) {
			_, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			if value = strings.Trim(value, "'"); strings.Contains(value, "://") {
				if err := p.addURL(value, "apt-config Acquire::Proxy"); err != nil {
					return err
				}
			}
		}
	}
	return p.addProxies(s)
}

// listURLs yields the URLs of the one-line style, with their lines.
func listURLs(text string) func(func(int, string) bool) {
	return func(yield func(int, string) bool) {
		n := 0
		for line := range strings.Lines(text) {
			n++
			line, _, _ = strings.Cut(line, "#")
			line = strings.TrimSpace(line)
			if kind, rest, ok := strings.Cut(line, "["); ok && strings.TrimSpace(kind) != "" { // options
				_, after, _ := strings.Cut(rest, "]")
				line = kind + after
			}
			fields := strings.Fields(line)
			if len(fields) >= 3 && (fields[0] == "deb" || fields[0] == "deb-src") && !yield(n, fields[1]) {
				return
			}
		}
	}
}

// deb822URLs yields the URLs of the other style, with their lines. Those of a
// source that is switched off are among them.
func deb822URLs(text string) func(func(int, string) bool) {
	return func(yield func(int, string) bool) {
		n, in := 0, false
		for line := range strings.Lines(text) {
			n++
			if strings.HasPrefix(line, "#") {
				continue
			}
			value := line
			if !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "\t") {
				var key string
				key, value, _ = strings.Cut(line, ":")
				in = strings.EqualFold(strings.TrimSpace(key), "URIs")
			}
			for _, u := range strings.Fields(value) {
				if in && !yield(n, u) {
					return
				}
			}
		}
	}
}

// git asks for the remotes of the repository, as git rewrites them, and ssh for
// what their hosts are called really.
func git(ctx context.Context, s *System, p *Preset) error {
	out, err := s.ask(ctx, "git", "remote")
	if err != nil {
		return err
	}
	for _, remote := range strings.Fields(string(out)) {
		urls, err := s.ask(ctx, "git", "remote", "get-url", "--all", remote)
		if err != nil {
			return err
		}
		push, err := s.ask(ctx, "git", "remote", "get-url", "--all", "--push", remote)
		if err != nil {
			return err
		}
		for _, u := range strings.Fields(string(urls) + string(push)) {
			if err := p.addRemote(ctx, s, u, "git remote "+remote); err != nil {
				return err
			}
		}
	}
	return p.addProxies(s)
}

// addRemote adds a git URL, or the form that scp has: gitrevisions do not matter.
func (p *Preset) addRemote(ctx context.Context, s *System, text, from string) error {
	u, err := url.Parse(text)
	scheme := ""
	if err == nil && strings.Contains(text, "://") {
		scheme = u.Scheme
	}
	switch {
	case scheme == "ssh" || scheme == "git+ssh" || scheme == "ssh+git":
		return p.addSSH(ctx, s, u.User.Username(), u.Hostname(), u.Port(), from)
	case scheme != "":
		return p.addURL(text, from)
	}
	// git-clone(1): only without a slash before the first colon.
	where, _, ok := strings.Cut(text, ":")
	if !ok || strings.Contains(where, "/") {
		return nil // a path
	}
	user, host, ok := strings.Cut(where, "@")
	if !ok {
		user, host = "", where
	}
	return p.addSSH(ctx, s, user, strings.Trim(host, "[]"), "", from)
}

// addSSH adds the host that ssh would connect to.
func (p *Preset) addSSH(ctx context.Context, s *System, user, host, port, from string) error {
	args := []string{"-G"}
	if port != "" {
		args = append(args, "-p", port)
	}
	if user != "" {
		args = append(args, "-l", user)
	}
	out, err := s.ask(ctx, "ssh", append(args, "--", host)...)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	config := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		config[key] = value
	}
	if via := cmp.Or(config["proxyjump"], config["proxycommand"]); via != "" && via != "none" {
		p.note("%s: ssh reaches %s through %q, which is not added", from, host, via)
	}
	return p.addURL("ssh://"+bracket(cmp.Or(config["hostname"], host))+":"+cmp.Or(config["port"], "22"), from)
}

func bracket(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// cargo reads which registries its caches are of, and where those say that
// packages are: cargo tells its configuration nowhere, and has its own registry
// built in.
func cargo(_ context.Context, s *System, p *Preset) error {
	home := cmp.Or(s.getenv("CARGO_HOME"), filepath.Join(s.Home, ".cargo"))
	for dir := s.Dir; ; dir = filepath.Dir(dir) {
		if err := p.cargoConfig(filepath.Join(dir, ".cargo")); err != nil {
			return err
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	if err := p.cargoConfig(home); err != nil {
		return err
	}
	index := filepath.Join(home, "registry", "index")
	caches, err := os.ReadDir(index)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, c := range caches {
		host := c.Name()[:max(0, strings.LastIndexByte(c.Name(), '-'))]
		if strings.Contains(host, ".") {
			if err := p.addURL("https://"+host, filepath.Join(index, c.Name())); err != nil {
				return err
			}
		}
		text, err := os.ReadFile(filepath.Join(index, c.Name(), "config.json"))
		if err != nil {
			continue
		}
		var config struct{ Dl, Api string }
		if json.Unmarshal(text, &config) == nil {
			for _, u := range []string{config.Dl, config.Api} {
				if err := p.addURL(u, filepath.Join(index, c.Name(), "config.json")); u != "" && err != nil {
					return err
				}
			}
		}
	}
	if len(p.Entries) == 0 {
		p.note("cargo keeps the name of its own registry to itself until it has been used once")
	}
	return p.addProxies(s)
}

// cargoConfig adds the URLs of registries and sources in a directory's
// configuration. Of the keys only the last part is looked at: which registry
// they are of does not matter.
func (p *Preset) cargoConfig(dir string) error {
	for _, name := range []string{"config.toml", "config"} {
		file := filepath.Join(dir, name)
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		n := 0
		for line := range strings.Lines(string(text)) {
			n++
			key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
			key = strings.TrimSpace(key)
			key = key[strings.LastIndexByte(key, '.')+1:]
			if !ok || key != "index" && key != "registry" && key != "proxy" || !strings.Contains(value, "://") {
				continue
			}
			if err := p.addURL(strings.TrimSpace(value), fmt.Sprintf("%s:%d", file, n)); err != nil {
				return err
			}
		}
		return nil
	}
	return nil
}
