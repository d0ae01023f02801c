package blocklist

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Damaged is what Lookup gives as the source when the list cannot be read.
const Damaged = "a damaged blocklist"

var errDamaged = errors.New("a compiled blocklist that was damaged")

// List is a compiled file, mapped into memory. Processes that have the same
// file open share what it takes. It may be used from several goroutines, and
// needs no closing: the mapping goes with it.
type List struct {
	header  header
	sources []Source
	table   []byte
	blob    []byte
}

// Open maps the compiled file at path. It checks what it reads, the header and
// the size, and leaves the names on disk: see Verify.
func Open(path string) (*List, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("blocklist: %w", err)
	}
	defer f.Close()
	l, err := mapFile(f)
	if err != nil {
		return nil, fmt.Errorf("blocklist: %s: %w", path, err)
	}
	return l, nil
}

func mapFile(f *os.File) (*List, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if size := info.Size(); !info.Mode().IsRegular() || size < headerSize || int64(int(size)) != size {
		return nil, errNoFile
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	l := new(List)
	runtime.AddCleanup(l, func(data []byte) { _ = unix.Munmap(data) }, data)
	err = guard(func() (err error) {
		l.sources, l.table, l.blob, err = l.header.decode(data)
		return err
	})
	runtime.KeepAlive(l)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// guard calls f, which reads mapped memory. Where somebody has cut the file
// short the kernel sends SIGBUS, which is an error then and not the end.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = errDamaged
		}
	}()
	return f()
}

// Verify reads the whole file and says whether it is as it was written.
func (l *List) Verify() error {
	defer runtime.KeepAlive(l)
	return guard(func() error {
		if checksum(l.table, l.blob) != l.header.body {
			return errDamaged
		}
		return nil
	})
}

// Sources returns the lists that were compiled. They are not to be changed.
func (l *List) Sources() []Source { return l.sources }

// Names returns how many names are blocked, each counted once.
func (l *List) Names() int { return int(l.header.names) }

// Exceptions returns how many names are opened again.
func (l *List) Exceptions() int { return int(l.header.exceptions) }

// Built returns when the file was compiled.
func (l *List) Built() time.Time { return l.header.built }

// Lookup says whether name, or a name above it, is blocked, and which entry of
// which list speaks of it: the narrowest, or an exception, which opens the name
// whatever else is listed. Without any both are empty.
//
// Case and a dot at the end do not matter; an international name has to be in
// its xn-- form. A list that cannot be read, because somebody has damaged the
// file, blocks the name, with Damaged as the source.
func (l *List) Lookup(name string) (entry, source string, blocked bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			entry, source, blocked = name, Damaged, true
		}
	}()
	entry, kind := l.find(name)
	runtime.KeepAlive(l)
	if entry == "" {
		return "", "", false
	}
	return entry, l.sources[kind&^exceptionBit].File, kind&exceptionBit == 0
}

// find returns the part of name that is listed. It panics where the file is
// damaged.
func (l *List) find(name string) (entry string, kind byte) {
	end := len(name)
	if end > 0 && name[end-1] == '.' {
		end--
	}
	// No entry is longer, but what stands above an odd name may be listed.
	first := max(0, end-maxName)
	var h uint64
	for i := end - 1; i >= first; i-- {
		h = hashByte(h, l.header.base, fold(name[i]))
		if i > 0 && name[i-1] != '.' {
			continue
		}
		if k, ok := l.probe(h, name[i:end]); ok {
			entry, kind = name[i:end], k
			if kind&exceptionBit != 0 {
				break
			}
		}
	}
	return entry, kind
}

// probe looks one name up.
func (l *List) probe(h uint64, name string) (kind byte, ok bool) {
	slot := slotOf(h, l.header.slots)
	for range l.header.longest {
		v := binary.LittleEndian.Uint64(l.table[int(slot)*slotSize:])
		if v == 0 {
			return 0, false
		}
		if uint32(v>>32) == uint32(h) {
			record := l.blob[uint32(v)-1:]
			if int(record[0]) == len(name) && equalFold(record[recordHead:recordHead+len(name)], name) {
				return record[1], true
			}
		}
		if slot++; slot == l.header.slots {
			slot = 0
		}
	}
	return 0, false
}

// equalFold says whether name is listed, which is in lower case.
func equalFold(listed []byte, name string) bool {
	for i, c := range listed {
		if fold(name[i]) != c {
			return false
		}
	}
	return true
}
