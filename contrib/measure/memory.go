package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// memory adds up what processes occupy, shared pages by the part of each.
func memory(b *bench) (list []row) {
	const held = 1000
	w, err := b.worker(b.jail(b.guard))
	if err != nil {
		return []row{missing("memory", "–", err, aim{})}
	}
	defer w.close()
	supervisor, err := pss(w.pid())
	if err != nil {
		return []row{missing("memory", "–", err, aim{})}
	}
	if _, err := w.do(work("hold", held, func(s servers) string { return s.keeps })(w)); err != nil {
		return []row{missing("memory", "–", err, aim{})}
	}
	loaded, err := pss(w.pid())
	if err != nil {
		return []row{missing("memory", "–", err, aim{})}
	}
	pid, err := b.daemon()
	if err != nil {
		return []row{missing("memory", "–", err, aim{})}
	}
	daemon, err := pss(pid)
	if err != nil {
		return []row{missing("memory", "–", err, aim{})}
	}
	one := func(title, against string, v float64, a aim) {
		r := measured(title, against, []float64{v}, a, " MB")
		r.result, _, _ = strings.Cut(r.result, " (")
		list = append(list, r)
	}
	one("memory of a supervisor (PSS)", "–", supervisor, atMost(8, " MB"))
	one("the same, for 1,000 open connections", "–", loaded-supervisor, aim{})
	one("memory of the daemon (PSS)", "–", daemon, atMost(20, " MB"))
	title := "memory of OpenSnitch's daemon (PSS)"
	if pid, err := b.startOpenSnitch(); err != nil {
		list = append(list, missing(title, "–", err, aim{}))
	} else if v, err := pss(pid); err != nil {
		list = append(list, missing(title, "–", err, aim{}))
	} else {
		one(title, "–", v, aim{})
	}
	return list
}

// pss returns a process's proportional set size in MB.
func pss(pid int) (float64, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if os.IsPermission(err) {
		return 0, errRoot
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb / 1024, err
		}
	}
	return 0, fmt.Errorf("memory of process %d: %w", pid, err)
}
