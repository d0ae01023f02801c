package main

import (
	"fmt"
	"slices"
	"sync"
)

// crowd compares the slowest connects of one jail with those of 64, which all
// connect 50 times in a second.
func crowd(b *bench) []row {
	const jails = 64
	title, a := fmt.Sprintf("p99 of a connect, %d jails × 50/s", jails), atMost(2, " ×")
	var places []place
	for range jails {
		places = append(places, b.jail(b.guard))
	}
	workers, err := b.workers(places...)
	if err != nil {
		return []row{missing(title, "1 jail × 50/s", err, a)}
	}
	defer closeAll(workers)
	var list []float64
	for range max(b.rounds/10, 3) {
		one, err := slowest(workers[:1], 250)
		if err != nil {
			return []row{missing(title, "1 jail × 50/s", err, a)}
		}
		all, err := slowest(workers, 250)
		if err != nil {
			return []row{missing(title, "1 jail × 50/s", err, a)}
		}
		list = append(list, all/one)
	}
	return []row{compared(title, "1 jail × 50/s", list, a)}
}

// slowest returns the 99th percentile of so many paced connects of each worker.
func slowest(workers []*worker, each int) (float64, error) {
	var mu sync.Mutex
	var all []float64
	var failed error
	var wg sync.WaitGroup
	for _, w := range workers {
		wg.Go(func() {
			took, err := w.do(work("paced", each, toAccepts)(w))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
				return
			}
			all = append(all, took[:len(took)-1]...)
		})
	}
	wg.Wait()
	if failed != nil {
		return 0, failed
	}
	slices.Sort(all)
	return all[len(all)*99/100], nil
}
