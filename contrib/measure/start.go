package main

import (
	"fmt"
	"image"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// start compares how long programs take from their start to their end.
func start(b *bench) (list []row) {
	const title = "`netjail true`, warm daemon"
	programs := [][]string{
		{"/bin/true"},
		{b.netjail, "--no-prompt", "/bin/true"},
		{"bwrap", "--dev-bind", "/", "/", "--unshare-net", "/bin/true"},
		{"firejail", "--quiet", "--noprofile", "--net=none", "/bin/true"},
	}
	names := []string{"`true`", "netjail", "`bwrap --unshare-net true`", "`firejail --net=none true`"}
	aims := []aim{atMost(4, " ms"), {}, {}, atLeast(2, " ×")}
	var workers []*worker
	defer func() { closeAll(workers) }()
	var there []int
	for i, argv := range programs {
		path, err := exec.LookPath(argv[0])
		if err != nil {
			list = append(list, missing(title, names[i], need(argv[0]), aims[i]))
			continue
		}
		argv[0] = path
		w, err := b.worker(bare)
		if err == nil {
			w.name, w.line = names[i], "spawn 1 "+strings.Join(argv, " ")
			if _, err = w.do(w.line); err != nil {
				w.close()
			}
		}
		if err != nil {
			list = append(list, missing(title, names[i], fmt.Errorf("does not start here: %w", err), aims[i]))
			continue
		}
		workers, there = append(workers, w), append(there, i)
	}
	if len(there) < 2 || there[1] != 1 {
		return list
	}
	took, err := turns(4*b.rounds, func(w *worker) string { return w.line }, workers...)
	if err != nil {
		return append(list, missing(title, "–", err, aim{}))
	}
	var over []float64
	for i := range took[0] {
		over = append(over, (took[1][i]-took[0][i])/1e6)
	}
	r := measured(title, "over `true`", over, aims[0], " ms")
	r.result = "+" + r.result
	list = append(list, r)
	for i, k := range there {
		switch {
		case k == 0:
			list = append(list, compared(title, names[0], ratios(took[1], took[0]), aim{}))
		case k > 1:
			r := compared(title, names[k], ratios(took[i], took[1]), aims[k])
			r.result = strings.Replace(r.result, "×", "× faster", 1)
			list = append(list, r)
		}
	}
	return list
}

// browsers compares how long a browser takes to draw a page with 60 images, from
// its start with an empty profile to its end.
func browsers(b *bench) (list []row) {
	srv := httptest.NewServer(page())
	defer srv.Close()
	profile, shot := filepath.Join(b.dir, "home", "profile"), filepath.Join(b.dir, "home", "shot.png")
	for _, argv := range [][]string{
		{"firefox-esr", "--headless", "--no-remote", "--profile", profile, "--screenshot", shot, srv.URL},
		{"chromium", "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
			"--disable-sync", "--user-data-dir=" + profile, "--screenshot=" + shot, "--window-size=1000,800", srv.URL},
	} {
		title, limit := argv[0]+", a page with 60 images, cold profile", atMost(1.03, " ×")
		if err := need(argv[0]); err != nil {
			list = append(list, missing(title, "bare", err, limit))
			continue
		}
		took, err := b.draw(max(b.rounds/5, 3), profile, shot, argv, append(b.jail(b.guard).prefix, argv...))
		if err != nil {
			list = append(list, missing(title, "bare", err, limit))
			continue
		}
		list = append(list, compared(title, "bare", ratios(took[1], took[0]), limit))
	}
	return list
}

// draw has a page drawn by each command in turns. A first round is not counted.
func (b *bench) draw(rounds int, profile, shot string, commands ...[]string) ([][]float64, error) {
	took := make([][]float64, len(commands))
	for round := range rounds + 1 {
		for i := range commands {
			i = (i + round) % len(commands)
			for _, old := range []string{profile, shot} {
				if err := os.RemoveAll(old); err != nil {
					return nil, err
				}
			}
			if _, err := b.output("mkdir", profile); err != nil {
				return nil, err
			}
			cmd := b.command(commands[i]...)
			cmd.Stderr = nil
			begin := time.Now()
			if err := cmd.Run(); err != nil {
				return nil, err
			}
			if round > 0 {
				took[i] = append(took[i], float64(time.Since(begin)))
			}
			if _, err := os.Stat(shot); err != nil {
				return nil, err
			}
		}
	}
	return took, nil
}

// page serves the page.
func page() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><title>images</title>")
		for i := range 60 {
			fmt.Fprintf(w, "<img src=/image/%d width=40 height=40>", i)
		}
	})
	mux.HandleFunc("GET /image/{n}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "image/png")
		w.Header().Set("Cache-Control", "no-store")
		_ = png.Encode(w, image.NewRGBA(image.Rect(0, 0, 40, 40)))
	})
	return mux
}
