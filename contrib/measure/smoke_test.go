package main

import "testing"

func TestCounted(t *testing.T) {
	const table = `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000600           1       600           ioctl
 30.00    0.000300           1       200        10 connect
 10.00    0.000100           1        77           futex
------ ----------- ----------- --------- --------- ----------------
100.00    0.001000           1       877        10 total
`
	if got, err := counted(table); got != 800 || err != nil {
		t.Errorf("got %d, %v, want 800", got, err)
	}
	if got, err := counted("nothing\n"); err == nil {
		t.Errorf("got %d, want an error", got)
	}
}
