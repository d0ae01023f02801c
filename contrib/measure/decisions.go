package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// decisions takes the repository's own benchmarks of what is pure.
func decisions(b *bench) (list []row) {
	for _, d := range []struct{ title, pkg, bench string }{
		{"a decision of a set of 10 rules", "./rules", "BenchmarkDecideFew"},
		{"a decision of a set of 10,000 rules", "./rules", "BenchmarkDecide$"},
		{"a name in a blocklist of 1,000,000", "./rules/blocklist", "BenchmarkLookup$"},
		{"a call that a rule allows, all that is decided about it", "./daemon/jail", "BenchmarkCheck/allowed/1"},
	} {
		ns, allocs, err := goBench(d.pkg, d.bench, "200ms")
		a := aim{"< 1000 ns, 0 allocations", func(v float64) bool { return v < 1000 && allocs == 0 }}
		if err != nil {
			list = append(list, missing(d.title, "–", err, a))
			continue
		}
		r := measured(d.title, "–", ns, a, " ns")
		r.result += fmt.Sprintf(", %d allocations", allocs)
		list = append(list, r)
	}
	return list
}

// goBench runs a benchmark and returns the time of one operation of each of its
// parts, and the most allocations. The name is a pattern.
func goBench(pkg, name, time string) (ns []float64, allocs int, err error) {
	cmd := exec.Command("go", "test", "-run", "^$", "-bench", name, "-benchmem", "-benchtime", time, pkg)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	for s := bufio.NewScanner(strings.NewReader(string(out))); s.Scan(); {
		words := strings.Fields(s.Text())
		for i := 1; i < len(words) && strings.HasPrefix(words[0], "Benchmark"); i++ {
			v, _ := strconv.ParseFloat(words[i-1], 64)
			switch words[i] {
			case "ns/op":
				ns = append(ns, v)
			case "allocs/op":
				allocs = max(allocs, int(v))
			}
		}
	}
	if len(ns) == 0 {
		err = fmt.Errorf("%s printed no figures", name)
	}
	return ns, allocs, err
}
