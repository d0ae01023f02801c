// Package guards counts what the kernel lets out of a jail under the guards that
// have every packet of it, whatever netjail's own supervisor does.
//
//	go test ./contrib/e2e/guards -v
//
// Root makes the machine: a network namespace in which the guard service and an
// ordinary user's jails run, and another one, at the far end of a cable, in which
// receivers count what arrives. The jails are the user's, never root's.
//
// The escape suite and the attacks of the race harness are run here once more,
// under each guard, with netjail as it is and with one that was built to answer
// CONTINUE to every call (build tag netjail_continue): at the denied receiver
// nothing may arrive in either.
package guards
