// Package names has the end-to-end tests of what netjail does with names: real
// programs look them up at a DNS server of the test's own.
//
//	go test ./contrib/e2e/names
//
// The test binary runs again in a network namespace, where the addresses of two
// documentation networks are this machine's, and /etc/resolv.conf says what a
// test wants. Nothing leaves it. The server counts every question, and the web
// server every connection: a name that was denied must be in neither's list,
// and the same program without netjail puts it there.
//
// As an ordinary user it needs user namespaces.
package names
