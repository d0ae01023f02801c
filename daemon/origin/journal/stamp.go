package journal

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// stamp tells one executable from another without reading it. Two that have the
// same stamp are the same, unchanged: every write sets the ctime to the kernel's
// clock, and there is no call that sets it to anything else. Only who may set
// that clock, or can mount a file system of his own or one that keeps no ctime,
// as FAT, has a file with the ctime of another one. The mtime alone would tell
// nothing: the owner of a file may set it.
type stamp struct {
	dev, ino     uint64
	size         int64
	mtime, ctime int64 // nanoseconds since 1970
}

// settle is how long after a change the next one has another ctime for sure:
// file systems keep time by the kernel's ticks, and some in seconds.
const settle = 3 * time.Second

// settled says whether a file that had this stamp at a time gets another one by
// every change from then on.
func (s stamp) settled(at time.Time) bool {
	return at.Sub(time.Unix(0, s.ctime)) > settle
}

func stampOf(f *os.File) (stamp, error) {
	info, err := f.Stat()
	if err != nil {
		return stamp{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return stamp{}, errors.New("stat executable: not a file")
	}
	return stamp{dev: st.Dev, ino: st.Ino, size: st.Size, mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano()}, nil
}
