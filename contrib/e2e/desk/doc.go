// Package desk holds the end-to-end tests of what a person at the desk sees:
// questions on a terminal and as notifications, job control in a real shell,
// broken files and full disks, and the daemon's comings and goings.
//
//	go test ./contrib/e2e/desk
//
// The terminals are tmux's, the desktop is Xvfb with a notification daemon
// whose buttons are clicked; each test has its own. The package has no code
// but its tests.
package desk
