#include "textflag.h"

// func rawVfork(flags uintptr) (pid uintptr)
//
// A leaf: the return address is in R30 all the time, so that the child, which
// runs on the parent's stack, cannot overwrite it.
TEXT ·rawVfork(SB),NOSPLIT|NOFRAME,$0-16
	MOVD	flags+0(FP), R0
	MOVD	$0, R1
	MOVD	$0, R2
	MOVD	$0, R3
	MOVD	$0, R4
	MOVD	$0, R5
	MOVD	$220, R8 // clone
	SVC
	MOVD	R0, pid+8(FP)
	RET
