// Package sys is netjail's edge to the kernel: one function for each system
// call that x/sys does not wrap as interpose needs it, under the name of its
// man page. It is the only package with unsafe code.
//
// Descriptors are plain ints here and owned by the caller. Errors are the bare
// errno, so that they can be handed to another process unchanged; 0 is success.
package sys
