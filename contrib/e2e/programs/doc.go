// Package programs has the end-to-end tests of netjail with real programs:
// clients, browsers, static binaries, and programs that start others in every
// way there is.
//
//	go test ./contrib/e2e/programs
//
// Each program is run without netjail, with its destination allowed, and with
// nothing allowed. Allowed, it must behave as without; otherwise nothing may
// arrive. What arrives is counted by the receiver. The tests make traffic on
// loopback only, and run as root and as an ordinary user.
//
// How rules, questions and the daemon behave is tested elsewhere.
package programs
