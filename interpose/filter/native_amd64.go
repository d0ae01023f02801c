package filter

// Native is the ABI of this build.
var Native = AMD64
