//go:build !netjail_continue

package interpose

// continueAll makes a supervisor that is wrong on purpose: it lets the kernel
// perform every call. Tests build one, to count what a guard alone holds.
const continueAll = false
