// Package escape tries every known way out of a jail.
//
//	go test ./contrib/e2e/escape -v
//
// Each row of the table is one trick of a C program (testdata), which is run
// without netjail, to see that the trick works on this kernel at all, and in a
// jail where one destination is allowed. Receivers outside of the jail count
// what arrives at the denied destination, where nothing may, and at the allowed
// one, where something must. What a jail can get other than packets, such as a
// socket of a family it must not have, counts like a packet.
//
// Most receivers are on loopback. Where the question is what a packet looks like,
// or which packets nobody has sent, they are at the far end of a cable in a
// network namespace, where every packet is counted. The rows that nothing closes
// are listed with the reason (OutOfReach). Races are tried a few thousand times
// here, and a million times by contrib/race.
package escape
