package journal

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// version is that of the file.
const version = 1

// maxFile bounds the file. maxEntries fit, however odd their paths.
const maxFile = 16 << 20

// content is what the file has in it.
type content struct {
	Version     int          `json:"version"`
	Executables []executable `json:"executables"` // the last allowed one last
}

// executable is an entry in the file.
type executable struct {
	App     string    `json:"app"`
	Path    string    `json:"path"`
	Allowed time.Time `json:"allowed"`
	Dev     uint64    `json:"dev"`
	Ino     uint64    `json:"ino"`
	Size    int64     `json:"size"`
	Mtime   int64     `json:"mtime"`
	Ctime   int64     `json:"ctime"` // 0: compare the content
	SHA256  string    `json:"sha256,omitempty"`
}

// read takes the entries from the file. One that cannot be read is set aside.
func (j *Journal) read() {
	entries, err := readFile(j.file)
	if err != nil {
		err = errors.Join(err, os.Rename(j.file, j.file+".broken"))
		j.log.Warn("begin a new journal of executables", "set aside", j.file+".broken", "error", err)
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = entries
}

func readFile(name string) (map[key]entry, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // it may be a pipe
	if errors.Is(err, os.ErrNotExist) {
		return make(map[key]entry), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read executables: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("%s: not a file", name), err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read executables: %w", err)
	}
	entries, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return entries, nil
}

func parse(data []byte) (map[key]entry, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("more than %d bytes", maxFile)
	}
	var c content
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	if c.Version != version {
		return nil, fmt.Errorf("version %d, %d is known", c.Version, version)
	}
	entries := make(map[key]entry, min(len(c.Executables), maxEntries))
	for i, r := range c.Executables {
		sum, err := hex.DecodeString(r.SHA256)
		if err != nil || len(sum) != 0 && len(sum) != 32 || r.Path == "" || r.Allowed.IsZero() {
			return nil, fmt.Errorf("entry %d makes no sense", i+1)
		}
		entries[key{r.App, r.Path}] = entry{
			stamp: stamp{dev: r.Dev, ino: r.Ino, size: r.Size, mtime: r.Mtime, ctime: r.Ctime},
			sum:   hex.EncodeToString(sum), allowed: r.Allowed,
		}
	}
	trim(entries)
	return entries, nil
}

func format(entries map[key]entry) ([]byte, error) {
	c := content{Version: version, Executables: make([]executable, 0, len(entries))}
	for k, e := range entries {
		c.Executables = append(c.Executables, executable{
			App: k.app, Path: k.path, Allowed: e.allowed, SHA256: e.sum,
			Dev: e.dev, Ino: e.ino, Size: e.size, Mtime: e.mtime, Ctime: e.ctime,
		})
	}
	slices.SortFunc(c.Executables, func(a, b executable) int {
		return cmp.Or(a.Allowed.Compare(b.Allowed), cmp.Compare(a.App, b.App), cmp.Compare(a.Path, b.Path))
	})
	data, err := json.Marshal(c)
	return append(data, '\n'), err
}

// save replaces the file: after a crash it is the old one or the new one.
func (j *Journal) save(entries map[key]entry) error {
	data, err := format(entries)
	if err != nil {
		return err
	}
	dir := filepath.Dir(j.file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".executables.*") // of mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), j.file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
