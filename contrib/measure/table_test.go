package main

import (
	"errors"
	"testing"
)

func TestSpread(t *testing.T) {
	if got, want := spreadOf([]float64{5, 1, 3, 2, 4}), (spread{2, 3, 4}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := spreadOf([]float64{7}), (spread{7, 7, 7}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRow(t *testing.T) {
	sample := ratios([]float64{2, 3, 4}, []float64{2, 2, 2})
	for _, tc := range []struct {
		row  row
		want string
	}{
		{compared("connect", "bare", sample, atMost(2, " ×")), "| connect | bare | 1.50 × (1.50–2.00) | ≤ 2 × | yes |"},
		{compared("connect", "bare", sample, atMost(1.5, " ×")), "| connect | bare | 1.50 × (1.50–2.00) | ≤ 1.5 × | unclear |"},
		{compared("connect", "bare", sample, atLeast(3, " ×")), "| connect | bare | 1.50 × (1.50–2.00) | ≥ 3 × | **no** |"},
		{measured("start", "–", []float64{123.4}, aim{}, " MB"), "| start | – | 123 MB (123–123) | – | – |"},
		{missing("connect", "strace", errors.New("not installed"), atLeast(5, " ×")), "| connect | strace | not installed | ≥ 5 × | – |"},
	} {
		if got := tc.row.String(); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
}
