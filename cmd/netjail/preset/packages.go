package preset

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// npm asks for the registries, of scopes too, and for proxies: npm-config(1).
func npm(ctx context.Context, s *System, p *Preset) error {
	const from = "npm config"
	out, err := s.ask(ctx, "npm", "config", "list", "--json")
	if err != nil {
		return err
	}
	var config map[string]any
	if err := json.Unmarshal(out, &config); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	for key, value := range config {
		text, _ := value.(string)
		switch {
		case text == "":
		case key == "registry", strings.HasSuffix(key, ":registry"), key == "proxy", key == "https-proxy":
			if err := p.addURL(text, from+" "+key); err != nil {
				return err
			}
		}
	}
	sortEntries(p)
	return p.addProxies(s)
}

// golang asks for the proxies and the checksum database: go help environment.
func golang(ctx context.Context, s *System, p *Preset) error {
	out, err := s.ask(ctx, "go", "env", "-json", "GOPROXY", "GOSUMDB", "GOPRIVATE", "GONOPROXY")
	if err != nil {
		return err
	}
	var env struct{ GOPROXY, GOSUMDB, GOPRIVATE, GONOPROXY string }
	if err := json.Unmarshal(out, &env); err != nil {
		return fmt.Errorf("go env: %w", err)
	}
	for _, proxy := range strings.FieldsFunc(env.GOPROXY, func(r rune) bool { return r == ',' || r == '|' }) {
		switch proxy {
		case "off":
		case "direct":
			p.note("go env GOPROXY: modules may be fetched from their own hosts (direct), which are not added")
		default:
			if err := p.addURL(proxy, "go env GOPROXY"); err != nil {
				return err
			}
		}
	}
	if private := env.GOPRIVATE + env.GONOPROXY; private != "" {
		p.note("go env GOPRIVATE: modules of %s are fetched from their own hosts, which are not added", private)
	}
	if fields := strings.Fields(env.GOSUMDB); len(fields) > 0 && fields[0] != "off" {
		name, _, _ := strings.Cut(fields[0], "+")
		database := "https://" + name
		if len(fields) > 1 {
			database = fields[1]
		}
		if err := p.addURL(database, "go env GOSUMDB"); err != nil {
			return err
		}
	}
	return p.addProxies(s)
}

// whatPipUses prints pip's options as they are configured, and what it has built
// in: its own index, and where that one keeps its files.
const whatPipUses = `
from pip._internal.cli.main_parser import create_main_parser
from pip._internal.commands import create_command
from pip._internal.models.index import PyPI
options, _ = create_command("download").parse_args(["x"])
print("index-url", options.index_url or "")
if (options.index_url or "").rstrip("/") == PyPI.simple_url.rstrip("/"):
    print("files", "https://" + PyPI.file_storage_domain)
for name in ("extra_index_urls", "find_links"):
    for url in getattr(options, name) or ():
        print(name.replace("_", "-"), url)
print("proxy", options.proxy or "")`

// pip asks the pip of python3 for its indexes: pip config does not tell the
// one that it has built in.
func pip(ctx context.Context, s *System, p *Preset) error {
	out, err := s.ask(ctx, "python3", "-c", whatPipUses)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if key == "proxy" && value != "" && !strings.Contains(value, "://") {
			value = "http://" + value
		}
		if value != "" && strings.Contains(value, "://") {
			if err := p.addURL(value, "pip "+key); err != nil {
				return err
			}
		}
	}
	return p.addProxies(s)
}
