package blocklist

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// image compiles lists; their names are "1", "2" and so on.
func image(t testing.TB, lists ...string) *Image {
	t.Helper()
	var b Builder
	for i, text := range lists {
		if err := b.read(strings.NewReader(text), Source{File: fmt.Sprint(i + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	return b.Build()
}

// compiled writes a file and opens it.
func compiled(t testing.TB, m *Image) *List {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	if err := m.Save(path); err != nil {
		t.Fatal(err)
	}
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Verify(); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLookup(t *testing.T) {
	l := compiled(t, image(t,
		"ads.example\ndeep.ads.example\nboth.example\n||zip^\n",
		"0.0.0.0 both.example two.example\n@@||open.ads.example^\n||shut.open.ads.example^\n@@||two.example^\n"))
	for _, tc := range []struct {
		name, entry, source string
		blocked             bool
	}{
		{"ads.example", "ads.example", "1", true},
		{"x.ads.example", "ads.example", "1", true},
		{"a.b.c.ads.example", "ads.example", "1", true},
		{"deep.ads.example", "deep.ads.example", "1", true},
		{"x.deep.ads.example", "deep.ads.example", "1", true},
		{"X.Ads.EXAMPLE.", "Ads.EXAMPLE", "1", true},
		{"both.example", "both.example", "1", true},
		{"xads.example", "", "", false},
		{"example", "", "", false},
		{"ads.example.org", "", "", false},
		{"zip", "zip", "1", true},
		{"a.zip", "zip", "1", true},
		{"open.ads.example", "open.ads.example", "2", false},
		{"x.open.ads.example", "open.ads.example", "2", false},
		{"shut.open.ads.example", "open.ads.example", "2", false},
		{"two.example", "two.example", "2", false},
		{"", "", "", false},
		{".", "", "", false},
		{"..", "", "", false},
		{".ads.example", "ads.example", "1", true},
		{"a..ads.example", "ads.example", "1", true},
		{"\x00\xff.ads.example", "ads.example", "1", true},
		{strings.Repeat("long.", 100) + "ads.example", "ads.example", "1", true},
		{strings.Repeat("x", 1000), "", "", false},
	} {
		entry, source, blocked := l.Lookup(tc.name)
		if entry != tc.entry || source != tc.source || blocked != tc.blocked {
			t.Errorf("Lookup(%q) = %q, %q, %v; want %q, %q, %v", tc.name, entry, source, blocked, tc.entry, tc.source, tc.blocked)
		}
	}
	if l.Names() != 5 || l.Exceptions() != 2 {
		t.Errorf("got %d names, %d exceptions; want 5, 2", l.Names(), l.Exceptions())
	}
	if got := l.Sources(); len(got) != 2 || got[0].Names != 4 || got[1].Names != 3 || got[1].Exceptions != 2 {
		t.Errorf("sources: %+v", got)
	}
	if d := time.Since(l.Built()); d < 0 || d > time.Hour {
		t.Errorf("built %v ago", d)
	}
}

// TestLookupAgainstMap compares with the obvious way to do it.
func TestLookupAgainstMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	name := func() string {
		labels := make([]string, 1+r.IntN(4))
		for i := range labels {
			labels[i] = string(rune('a'+r.IntN(4))) + strings.Repeat("x", r.IntN(3))
		}
		return strings.Join(labels, ".")
	}
	blocks, opens := make(map[string]bool), make(map[string]bool)
	var text strings.Builder
	for range 300 {
		s := name()
		blocks[s] = true
		text.WriteString("||" + s + "^\n")
	}
	for range 20 {
		s := name()
		opens[s] = true
		text.WriteString("@@||" + s + "^\n")
	}
	l := compiled(t, image(t, text.String()))
	for range 20000 {
		s := name()
		var want, open bool
		for up := s; ; {
			want, open = want || blocks[up], open || opens[up]
			_, rest, more := strings.Cut(up, ".")
			if !more {
				break
			}
			up = rest
		}
		if _, _, got := l.Lookup(s); got != (want && !open) {
			t.Fatalf("Lookup(%q) = %v, want %v (an exception: %v)", s, got, want && !open, open)
		}
	}
}

func TestNoLists(t *testing.T) {
	l := compiled(t, new(Builder).Build())
	if _, _, blocked := l.Lookup("ads.example"); blocked || l.Names() != 0 {
		t.Error("no list blocks a name")
	}
	var none *List
	if _, source, blocked := none.Lookup("ads.example"); !blocked || source != Damaged {
		t.Error("what is no list opens a name")
	}
}

func TestLookupAllocates(t *testing.T) {
	l := compiled(t, image(t, "ads.example\n"))
	for _, name := range []string{"x.ads.example", "X.ADS.example.", "www.example.org"} {
		if n := testing.AllocsPerRun(100, func() { l.Lookup(name) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestSave: whoever has the old file open keeps it, and nothing else is left.
func TestSave(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "db")
	if err := image(t, "old.example\n").Save(path); err != nil {
		t.Fatal(err)
	}
	old, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := image(t, "new.example\n").Save(path); err != nil {
		t.Fatal(err)
	}
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, blocked := l.Lookup("new.example"); !blocked {
		t.Error("the new file has not the new name")
	}
	if _, _, blocked := old.Lookup("old.example"); !blocked || old.Verify() != nil {
		t.Error("the old file has changed below its reader")
	}
	if err := image(t, "x.example").Save(filepath.Join(dir, "none", "db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("save where no directory is: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left are %v, %v", entries, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	var buf bytes.Buffer
	if _, err := image(t, "ads.example\nb.example\n").WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	good := buf.Bytes()
	changed := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 1
		return b
	}
	for name, data := range map[string][]byte{
		"empty": {}, "short": good[:20], "header only": good[:headerSize], "cut": good[:len(good)-1],
		"longer": append(bytes.Clone(good), 0), "magic": changed(0), "base": changed(8), "slots": changed(16),
		"longest": changed(20), "counts": changed(24), "blob": changed(32), "sources": changed(40),
		"body checksum": changed(44), "text of sources": changed(headerSize + 3), "text": []byte("ads.example\n" + strings.Repeat("#\n", 100)),
	} {
		path := filepath.Join(t.TempDir(), "db")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for _, path := range []string{filepath.Join(t.TempDir(), "none"), t.TempDir(), os.DevNull} {
		if _, err := Open(path); err == nil {
			t.Errorf("%s: no error", path)
		}
	}
}

// TestTruncated: a file that is cut short while it is mapped raises SIGBUS. It
// must neither end the process nor open a name.
func TestTruncated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	if err := image(t, "ads.example\n").Save(path); err != nil {
		t.Fatal(err)
	}
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ads.example", "www.example.org"} {
		if entry, source, blocked := l.Lookup(name); !blocked || entry != name || source != Damaged {
			t.Errorf("Lookup(%q) = %q, %q, %v; want it blocked by %s", name, entry, source, blocked, Damaged)
		}
	}
	if err := l.Verify(); err == nil {
		t.Error("Verify: no error")
	}
	if _, err := Open(path); err == nil {
		t.Error("Open: no error")
	}
}

// TestUnmaps: a list that nobody holds any more takes no room.
func TestUnmaps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mapped")
	if err := image(t, "ads.example\n").Save(path); err != nil {
		t.Fatal(err)
	}
	mapped := func() bool {
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(maps), path)
	}
	l, err := Open(path)
	if err != nil || !mapped() {
		t.Fatalf("mapped: %v, %v", mapped(), err)
	}
	l.Lookup("ads.example")
	l = nil
	for end := time.Now().Add(10 * time.Second); mapped(); time.Sleep(time.Millisecond) {
		if runtime.GC(); time.Now().After(end) {
			t.Fatal("still mapped")
		}
	}
}

// FuzzDamaged changes a file anywhere, below its reader too: what is found may
// be wrong, but nothing panics and nothing runs on for ever.
func FuzzDamaged(f *testing.F) {
	f.Add(uint32(0), []byte("x"), uint16(0), "ads.example")
	f.Add(uint32(70), []byte{0xff, 0xff, 0xff, 0xff}, uint16(10), "b.example")
	f.Add(uint32(64+120), bytes.Repeat([]byte{0xff}, 64), uint16(0), "x.ads.example")
	var buf bytes.Buffer
	if _, err := image(f, "ads.example\nb.example\n||zip^\n@@||open.ads.example^\n", "c.example").WriteTo(&buf); err != nil {
		f.Fatal(err)
	}
	good := buf.Bytes()
	f.Fuzz(func(t *testing.T, at uint32, patch []byte, cut uint16, name string) {
		bad := bytes.Clone(good)
		copy(bad[int(at)%len(bad):], patch)
		bad = bad[:len(bad)-int(cut)%len(bad)]
		path := filepath.Join(t.TempDir(), "db")
		// The header's checksum would stop most of this: Lookup has to stand
		// it all the same.
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		l.Lookup(name)
		_ = l.Verify()
		var h header
		if sources, table, blob, err := h.decode(bad); err == nil {
			(&List{header: h, sources: sources, table: table, blob: blob}).Lookup(name)
		}
		if l, err := Open(path); err == nil {
			l.Lookup(name)
			_ = l.Verify()
		}
		// And a header that was made to fit.
		if len(bad) >= headerSize {
			l.header = header{base: uint64(at) * 0x9e3779b97f4a7c15, slots: uint32(len(bad)), longest: 1 << 16}
			l.table, l.blob = bad[headerSize:], bad[:len(bad)/2]
			l.Lookup(name)
		}
	})
}

// million writes a list of a million names, like those of real lists.
func million(b *testing.B) (path string, names []string) {
	r := rand.New(rand.NewPCG(3, 4))
	names = make([]string, 1_000_000)
	var text bytes.Buffer
	tlds := []string{"com", "net", "org", "info", "co.uk", "example", "shop", "top"}
	for i := range names {
		names[i] = fmt.Sprintf("%x.%s-%x.%s", r.IntN(1<<16), []string{"ads", "track", "metrics", "cdn"}[r.IntN(4)], r.IntN(1<<28), tlds[r.IntN(len(tlds))])
		fmt.Fprintf(&text, "0.0.0.0 %s\n", names[i])
	}
	path = filepath.Join(b.TempDir(), "hosts")
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		b.Fatal(err)
	}
	return path, names
}

func compileMillion(b *testing.B) (path string, names []string) {
	list, names := million(b)
	path = filepath.Join(b.TempDir(), "db")
	var builder Builder
	if err := builder.Add(list); err != nil {
		b.Fatal(err)
	}
	if err := builder.Build().Save(path); err != nil {
		b.Fatal(err)
	}
	return path, names
}

// BenchmarkCompile reads a million names and writes the file: that is done once
// for each change of a list.
func BenchmarkCompile(b *testing.B) {
	list, _ := million(b)
	path := filepath.Join(b.TempDir(), "db")
	perOp := cpuTime(b)
	for b.Loop() {
		var builder Builder
		if err := builder.Add(list); err != nil {
			b.Fatal(err)
		}
		if err := builder.Build().Save(path); err != nil {
			b.Fatal(err)
		}
	}
	if d := perOp(); d > 2*time.Second {
		b.Errorf("a million names take %v, the aim is below 2 s", d)
	}
}

// cpuTime starts a count of processor time, which says the same on a machine
// that has more to do, and returns what reads it for one operation.
func cpuTime(b *testing.B) (perOp func() time.Duration) {
	now := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	start := now()
	return func() time.Duration {
		d := (now() - start) / time.Duration(b.N)
		b.ReportMetric(float64(d), "cpu-ns/op")
		return d
	}
}

// BenchmarkOpen is what each process does.
func BenchmarkOpen(b *testing.B) {
	path, _ := compileMillion(b)
	perOp := cpuTime(b)
	for b.Loop() {
		if _, err := Open(path); err != nil {
			b.Fatal(err)
		}
	}
	perOp()
}

func BenchmarkVerify(b *testing.B) {
	path, _ := compileMillion(b)
	perOp := cpuTime(b)
	for b.Loop() {
		l, err := Open(path)
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Verify(); err != nil {
			b.Fatal(err)
		}
	}
	perOp()
}

// BenchmarkLookup looks different names up each time, so that the processor's
// caches hold little of the file.
func BenchmarkLookup(b *testing.B) {
	path, names := compileMillion(b)
	r := rand.New(rand.NewPCG(5, 6))
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	below, absent := make([]string, len(names)), make([]string, len(names))
	for i, name := range names {
		below[i], absent[i] = "www.img."+name, "www."+strings.Replace(name, "-", ".not-", 1)
	}
	runtime.GC()
	before := residentBytes(b)
	l, err := Open(path)
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range names {
		if _, _, blocked := l.Lookup(name); !blocked {
			b.Fatalf("%s is not blocked", name)
		}
	}
	grown := residentBytes(b) - before
	if grown > 64<<20 {
		b.Errorf("a million names take %d bytes, the aim is below 64 MB", grown)
	}
	for _, bc := range []struct {
		name    string
		ask     []string
		blocked bool
	}{{"listed", names, true}, {"below", below, true}, {"absent", absent, false}} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			i, perOp := 0, cpuTime(b)
			for b.Loop() {
				if _, _, blocked := l.Lookup(bc.ask[i]); blocked != bc.blocked {
					b.Fatalf("Lookup(%q) = %v", bc.ask[i], blocked)
				}
				if i++; i == len(bc.ask) {
					i = 0
				}
			}
			b.ReportMetric(float64(grown)/(1<<20), "MB-resident")
			perOp()
		})
	}
	runtime.KeepAlive(l)
}

func residentBytes(b *testing.B) int64 {
	var size, resident int64
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := fmt.Sscan(string(data), &size, &resident); err != nil {
		b.Fatal(err)
	}
	return resident * int64(unix.Getpagesize())
}
