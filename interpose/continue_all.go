//go:build netjail_continue

package interpose

const continueAll = true
