package doctor

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxFile bounds what is read of one file.
const maxFile = 1 << 20

// read reads a regular file below the root. O_NONBLOCK: a FIFO in its place
// must not hang the doctor.
func (v *visit) read(path string) (string, error) {
	f, err := os.OpenFile(v.path(path), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	switch fi, err := f.Stat(); {
	case err != nil:
		return "", err
	case !fi.Mode().IsRegular():
		return "", &os.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	return string(b), err
}

// word reads a file of one word, "" if there is none.
func (v *visit) word(path string) string {
	text, _ := v.read(path)
	return strings.TrimSpace(text)
}

func (v *visit) path(path string) string { return filepath.Join(v.Root, path) }

func (v *visit) exists(path string) bool {
	_, err := os.Lstat(v.path(path))
	return err == nil
}

func (v *visit) getenv(name string) string {
	for _, kv := range v.Env {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	return ""
}

// symbol names the errno in err as manuals do, or says what err says.
func symbol(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		if name := unix.ErrnoName(errno); name != "" {
			return name
		}
	}
	return err.Error()
}
