package jail

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxChain is how many programs of a chain are told.
	maxChain = 6

	// maxParents bounds the way up.
	maxParents = 256
)

// chain lists the programs between a jail's keeper and a process, which comes
// last. Of a longer chain the first and the last ones are told, with an
// ellipsis between.
func chain(pid, keeper int) []string {
	var list []string // the process first
	for range maxParents {
		if pid <= 1 || pid == keeper {
			break
		}
		list = append(list, program(pid))
		pid = parentOf(pid)
	}
	slices.Reverse(list)
	return shorten(list)
}

// shorten leaves the middle of a long chain out.
func shorten(list []string) []string {
	if len(list) <= maxChain {
		return list
	}
	return append([]string{list[0], "…"}, list[len(list)-(maxChain-2):]...)
}

// program is the name of the executable that a process runs.
func program(pid int) string {
	exe, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	if err != nil {
		return "?" // ended: it waits to be reaped
	}
	return filepath.Base(strings.TrimSuffix(exe, " (deleted)"))
}

// parentOf returns a process's parent, or 0.
func parentOf(pid int) int {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "PPid:"); ok {
			parent, _ := strconv.Atoi(strings.TrimSpace(value))
			return parent
		}
	}
	return 0
}
