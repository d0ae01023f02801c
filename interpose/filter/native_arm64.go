package filter

// Native is the ABI of this build.
var Native = ARM64
