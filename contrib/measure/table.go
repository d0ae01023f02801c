package main

import (
	"fmt"
	"slices"
)

// row is a line of the table.
type row struct {
	work, against string
	result        string
	aim           aim
	met           string
}

const head = "| work | against | measured | aim | met |\n|---|---|---|---|---|"

func (r row) String() string {
	return fmt.Sprintf("| %s | %s | %s | %s | %s |", r.work, r.against, r.result, dash(r.aim.text), dash(r.met))
}

func dash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

// aim is what a figure should be. Its zero value wants nothing.
type aim struct {
	text string
	ok   func(float64) bool
}

func atMost(limit float64, unit string) aim {
	return aim{fmt.Sprintf("≤ %g%s", limit, unit), func(v float64) bool { return v <= limit }}
}

func atLeast(limit float64, unit string) aim {
	return aim{fmt.Sprintf("≥ %g%s", limit, unit), func(v float64) bool { return v >= limit }}
}

// spread is the median of a sample and the half of it in the middle.
type spread struct{ low, median, high float64 }

func spreadOf(sample []float64) spread {
	s := slices.Sorted(slices.Values(sample))
	at := func(part float64) float64 { return s[int(part*float64(len(s)-1)+0.5)] }
	return spread{at(0.25), at(0.5), at(0.75)}
}

// ratios are those of neighbours.
func ratios(a, b []float64) (list []float64) {
	for i := range a {
		list = append(list, a[i]/b[i])
	}
	return list
}

// compared is the row of a ratio.
func compared(work, against string, sample []float64, a aim) row {
	return measured(work, against, sample, a, " ×")
}

// measured is the row of a figure with a unit.
func measured(work, against string, sample []float64, a aim, unit string) row {
	s := spreadOf(sample)
	r := row{work: work, against: against, aim: a, result: fmt.Sprintf("%s%s (%s–%s)", digits(s.median), unit, digits(s.low), digits(s.high))}
	if a.ok != nil {
		r.met = verdict(a.ok(s.low), a.ok(s.high))
	}
	return r
}

// verdict says whether an aim is met by both ends of the middle half. If only by
// one, this run does not tell.
func verdict(low, high bool) string {
	switch {
	case low && high:
		return "yes"
	case low || high:
		return "unclear"
	}
	return "**no**"
}

// digits keeps three that count.
func digits(v float64) string {
	switch a := max(v, -v); {
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// missing is the row of what cannot be measured here.
func missing(work, against string, why error, a aim) row {
	return row{work: work, against: against, result: why.Error(), aim: a}
}
