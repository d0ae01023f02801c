package programs

import (
	"bufio"
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// images is how many images the page has.
const images = 60

// browserLimit is how long a browser may take for its start and one page.
const browserLimit = 2 * time.Minute

// page serves a page with images and notes which of them were requested.
type page struct {
	*e2etest.Server

	mu   sync.Mutex
	seen map[string]bool
}

func newPage(t *testing.T) *page {
	t.Helper()
	p := &page{seen: make(map[string]bool)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		var b strings.Builder
		b.WriteString("<!doctype html><title>images</title><h1>hello</h1>\n")
		for i := range images {
			fmt.Fprintf(&b, "<img src=/image/%d width=40 height=40>\n", i)
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(b.String()))
	})
	mux.HandleFunc("GET /image/{n}", func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.seen[r.PathValue("n")] = true
		p.mu.Unlock()
		w.Header().Set("Content-Type", "image/png")
		w.Header().Set("Cache-Control", "no-store")
		_ = png.Encode(w, square())
	})
	p.Server = serveHTTP(t, mux)
	return p
}

// square returns an image of one colour that pages do not have by themselves.
func square() image.Image {
	m := image.NewRGBA(image.Rect(0, 0, 40, 40))
	for i := range 40 * 40 {
		m.Set(i%40, i/40, colour)
	}
	return m
}

var colour = color.RGBA{R: 10, G: 200, B: 30, A: 255}

// requested returns how many images were, since it was last asked.
func (p *page) requested() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.seen)
	clear(p.seen)
	return n
}

func firefox(h *e2etest.Home, url, shot string) []string {
	return []string{
		"firefox-esr", "--headless", "--no-remote", "--profile", filepath.Join(h.Dir, "profile"), "--screenshot", shot, url,
	}
}

// chromium uses its own sandbox, which it refuses to do as root.
func chromium(h *e2etest.Home, url, shot string) []string {
	args := []string{
		"chromium", "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--user-data-dir=" + filepath.Join(h.Dir, "profile"),
		"--screenshot=" + shot, "--window-size=1000,800",
	}
	if os.Geteuid() == 0 {
		args = append(args, "--no-sandbox")
	}
	return append(args, url)
}

// TestBrowsers draws a page, which needs hundreds of calls from many processes
// with sandboxes of their own.
func TestBrowsers(t *testing.T) {
	tests := []struct {
		program string
		args    func(h *e2etest.Home, url, shot string) []string
	}{{"firefox-esr", firefox}, {"chromium", chromium}}
	for _, tt := range tests {
		t.Run(tt.program, func(t *testing.T) {
			e2etest.Need(t, tt.program)
			h := e2etest.NewHome(t)
			p := newPage(t)
			b := &browser{h: h, page: p, args: tt.args, app: tt.program}
			t.Run("without netjail", func(t *testing.T) { b.draw(t, nil) })
			t.Run("denied", b.denied)
			for _, guard := range h.Guards() {
				t.Run("allowed, "+guard, func(t *testing.T) {
					b.draw(t, append(e2etest.Guard(guard), "--no-prompt", "--allow", p.Addr()))
				})
			}
		})
	}
}

type browser struct {
	h    *e2etest.Home
	page *page
	args func(h *e2etest.Home, url, shot string) []string
	app  string
}

// command returns one that opens the page, under netjail if there are flags for
// it. It starts with no profile, and so with no cache.
func (b *browser) command(t *testing.T, flags []string) (cmd *exec.Cmd, shot string) {
	t.Helper()
	for _, name := range []string{"profile", "screenshot.png"} {
		if err := os.RemoveAll(filepath.Join(b.h.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(b.h.Dir, "profile"), 0o700); err != nil {
		t.Fatal(err)
	}
	b.page.requested()
	shot = filepath.Join(b.h.Dir, "screenshot.png")
	args := b.args(b.h, "http://"+b.page.Addr()+"/", shot)
	if flags != nil {
		return b.h.Command(append(flags, args...)...), shot
	}
	return native(b.h, args...), shot
}

func (b *browser) draw(t *testing.T, flags []string) {
	t.Helper()
	cmd, shot := b.command(t, flags)
	start := time.Now()
	r := b.h.Finish(cmd)
	if took := time.Since(start); took > browserLimit {
		t.Errorf("took %v, want less than %v", took, browserLimit)
	}
	if r.Code != 0 {
		t.Errorf("code %d, want 0; stderr:\n%s", r.Code, r.Stderr)
	}
	if n := b.page.requested(); n != images {
		t.Errorf("%d images were requested, want %d; stderr:\n%s", n, images, r.Stderr)
	}
	if n := green(t, shot); n < images*40*40*9/10 {
		t.Errorf("%d pixels of the images in the screenshot, want about %d", n, images*40*40)
	}
}

// green counts the pixels of a screenshot that are the images'.
func green(t *testing.T, shot string) int {
	t.Helper()
	b, err := os.ReadFile(shot)
	if err != nil {
		t.Fatal(err)
	}
	m, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("decode the screenshot: %v", err)
	}
	n := 0
	for y := m.Bounds().Min.Y; y < m.Bounds().Max.Y; y++ {
		for x := m.Bounds().Min.X; x < m.Bounds().Max.X; x++ {
			if color.RGBAModel.Convert(m.At(x, y)) == colour {
				n++
			}
		}
	}
	return n
}

// denied wants nothing to arrive. A browser draws its own page about that, may
// have tried to reach others, and need not end: Firefox does not for a page
// that it could not load, with netjail or without.
func (b *browser) denied(t *testing.T) {
	before := b.page.Settled(t)
	cmd, _ := b.command(t, []string{"--no-prompt"})
	stderr := b.untilHint(t, cmd)
	if n := b.page.Settled(t) - before; n != 0 {
		t.Errorf("%d connections arrived, want none", n)
	}
	if n := hints(t, stderr, b.app)["tcp://"+b.page.Addr()]; n != 1 {
		t.Errorf("%d hints, want 1; stderr:\n%s", n, stderr)
	}
}

// untilHint runs a command until it was told that its page is denied, ends it,
// and returns what it said.
func (b *browser) untilHint(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(browserLimit, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	var said strings.Builder
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		fmt.Fprintln(&said, lines.Text())
		if strings.Contains(lines.Text(), "tcp://"+b.page.Addr()) {
			_ = cmd.Process.Signal(syscall.SIGTERM)
		}
	}
	_ = cmd.Wait() // a browser that was ended says that it failed
	return said.String()
}
