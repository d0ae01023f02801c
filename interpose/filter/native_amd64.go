package filter

// Native is the ABI of this build.
var Native = AMD64

// Compat is the 32-bit ABI that programs may be allowed to use; nil: none.
var Compat = &I386
