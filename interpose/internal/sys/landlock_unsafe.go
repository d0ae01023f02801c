package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// LandlockABI returns the version of Landlock that the kernel enforces, 0 where
// it has none, see landlock_create_ruleset(2).
func LandlockABI() int {
	v, _, e := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 {
		return 0
	}
	return int(v)
}

// LandlockCreateRuleset is landlock_create_ruleset(2). The descriptor is
// close-on-exec.
func LandlockCreateRuleset(attr *unix.LandlockRulesetAttr) (int, unix.Errno) {
	fd, _, e := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(attr)), unsafe.Sizeof(*attr), 0)
	return int(fd), e
}
