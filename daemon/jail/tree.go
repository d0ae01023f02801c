package jail

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// descendants lists the processes below pid, see proc_pid_task_tid_children(5).
func descendants(pid int) []int {
	var list []int
	tasks, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	for _, name := range tasks {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // ended meanwhile
		}
		for _, field := range strings.Fields(string(b)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				continue
			}
			list = append(append(list, child), descendants(child)...)
		}
	}
	return list
}
