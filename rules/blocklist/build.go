package blocklist

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Builder collects lists. The zero value has none.
type Builder struct {
	sources []Source
	blob    []byte // records, as in the file
	count   int
}

// Add reads the list at path, all of it or, on an error, nothing. The error is
// an *Error.
//
// Each line may be one of a hosts file (0.0.0.0, 127.0.0.1, :: or ::1 and
// names), a name (also *.name and .name, which mean the same), or an adblock
// rule for a whole name, ||name^ or @@||name^. The options important, all,
// document and third-party leave it one; an exception may only be important.
// Lines with # or ! first, and what follows a #, are remarks.
//
// Skipped and counted are: names without a dot and other addresses in a hosts
// file, addresses, adblock rules for parts of pages or for some traffic only,
// patterns, regular expressions, names that DNS cannot know, and behind an
// [Adblock] header everything else. Any other line is an error, and so is a
// list in which nothing can be taken.
func (b *Builder) Add(path string) error {
	// O_NONBLOCK: a FIFO must not hang us before fstat tells what it is.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return &Error{File: path, Err: errors.Unwrap(err)}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return &Error{File: path, Err: err}
	}
	if !info.Mode().IsRegular() {
		return &Error{File: path, Err: errors.New("not a regular file")}
	}
	// A record takes about as much room as its line.
	if b.blob == nil && info.Size() < MaxNames*recordHead {
		b.blob = make([]byte, 0, info.Size()+info.Size()/16)
	}
	return b.read(f, Source{File: path, Size: info.Size(), Modified: info.ModTime()})
}

// read takes a list from rd; src says what is known of it.
func (b *Builder) read(rd io.Reader, src Source) error {
	if len(b.sources) == MaxSources {
		return &Error{File: src.File, Err: fmt.Errorf("more than %d lists", MaxSources)}
	}
	size, count := len(b.blob), b.count
	r := reader{add: func(name []byte, exception bool) {
		kind := byte(len(b.sources))
		if exception {
			kind |= exceptionBit
			src.Exceptions++
		} else {
			src.Names++
		}
		b.blob = append(append(b.blob, byte(len(name)), kind), name...)
		b.count++
	}}
	line, err := b.readLines(rd, &r)
	if err == nil && b.count == count {
		line, err = 0, errors.New("no name in it that could be blocked")
	}
	if err != nil {
		b.blob, b.count = b.blob[:size], count
		return &Error{File: src.File, Line: line, Err: err}
	}
	src.Skipped = r.skipped
	b.sources = append(b.sources, src)
	return nil
}

// readLines returns the number of the line that an error is about.
func (b *Builder) readLines(rd io.Reader, r *reader) (line int, err error) {
	in := bufio.NewReaderSize(rd, maxLine)
	for {
		text, err := in.ReadSlice('\n')
		if err == io.EOF && len(text) == 0 {
			return line, nil
		}
		line++
		switch {
		case err == bufio.ErrBufferFull:
			return line, fmt.Errorf("a line longer than %d bytes", maxLine)
		case err != nil && err != io.EOF:
			return 0, err
		}
		if line == 1 {
			text = bytes.TrimPrefix(text, []byte("\ufeff"))
		}
		if err := r.line(text); err != nil {
			return line, err
		}
		if b.count > MaxNames {
			return line, fmt.Errorf("more than %d names", MaxNames)
		}
	}
}

// Image is a compiled file that has not been written yet.
type Image struct {
	header  header
	sources []Source
	table   []byte
	blob    []byte
}

// Build compiles the lists, and leaves the Builder without any. A name that
// stands in several lists is said to be of the first; an exception of the same
// name takes its place.
func (b *Builder) Build() *Image {
	m := &Image{sources: b.sources, blob: b.blob}
	if m.sources == nil {
		m.sources = []Source{}
	}
	m.header = header{base: randomBase(), slots: uint32(b.count + b.count/2 + 1), built: time.Now()}
	m.table = make([]byte, int(m.header.slots)*slotSize)
	// Names that are there already are dropped, and the others moved up.
	kept := 0
	for next := 0; next < len(b.blob); {
		record := b.blob[next : next+recordHead+int(b.blob[next])]
		next += len(record)
		if m.insert(record, kept) {
			kept += copy(b.blob[kept:], record)
		}
	}
	m.blob = b.blob[:kept]
	*b = Builder{}
	m.header.blob = uint64(kept)
	m.header.body = checksum(m.table, m.blob)
	return m
}

// insert enters a record that will stand at an offset, unless its name is
// there.
func (m *Image) insert(record []byte, offset int) bool {
	name := record[recordHead:]
	var h uint64
	for i := len(name) - 1; i >= 0; i-- {
		h = hashByte(h, m.header.base, name[i])
	}
	slot := slotOf(h, m.header.slots)
	for probe := uint32(1); ; probe++ {
		at := m.table[int(slot)*slotSize:][:slotSize]
		v := binary.LittleEndian.Uint64(at)
		if v == 0 {
			binary.LittleEndian.PutUint64(at, h<<32|uint64(offset+1))
			m.header.longest = max(m.header.longest, probe)
			m.count(record[1], 1)
			return true
		}
		if old := m.blob[uint32(v)-1:]; uint32(v>>32) == uint32(h) && old[0] == record[0] && bytes.HasPrefix(old[recordHead:], name) {
			if record[1]&exceptionBit != 0 && old[1]&exceptionBit == 0 {
				m.count(old[1], -1)
				m.count(record[1], 1)
				old[1] = record[1]
			}
			return false
		}
		if slot++; slot == m.header.slots {
			slot = 0
		}
	}
}

func (m *Image) count(kind byte, n int) {
	if kind&exceptionBit != 0 {
		m.header.exceptions += uint32(n)
	} else {
		m.header.names += uint32(n)
	}
}

func randomBase() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])%(prime-1<<32) + 1<<32
}

// WriteTo writes the file.
func (m *Image) WriteTo(w io.Writer) (n int64, err error) {
	head, err := m.header.encode(m.sources)
	if err != nil {
		return 0, err
	}
	for _, part := range [][]byte{head, m.table, m.blob} {
		k, err := w.Write(part)
		n += int64(k)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// Save writes the file at path, atomically: whoever reads meanwhile, or after a
// crash, sees the old one or the new one, and whoever has the old one open
// keeps it.
func (m *Image) Save(path string) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("save blocklist: %w", err)
	}
	_, err = m.WriteTo(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("save blocklist: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return syncDir(dir)
}

// syncDir makes a rename last over a crash.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("save blocklist: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("save blocklist: %w", err)
	}
	return nil
}
