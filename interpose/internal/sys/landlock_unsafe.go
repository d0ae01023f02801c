package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Landlock asks landlock_create_ruleset(2) what it has: LANDLOCK_CREATE_RULESET_VERSION
// for the ABI that the kernel enforces, LANDLOCK_CREATE_RULESET_ERRATA (Linux
// 6.15 and stable ones) for what is fixed in it. 0 where it does not know.
func Landlock(flag uintptr) int {
	v, _, e := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, flag)
	if e != 0 {
		return 0
	}
	return int(v)
}

// LandlockCreateRuleset is landlock_create_ruleset(2). The descriptor is
// close-on-exec. A kernel that knows a shorter structure takes this one when the
// rest of it is zero.
func LandlockCreateRuleset(attr *unix.LandlockRulesetAttr) (int, unix.Errno) {
	fd, _, e := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(attr)), unsafe.Sizeof(*attr), 0)
	return int(fd), e
}
