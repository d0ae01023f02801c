#include "textflag.h"

// func rawVfork(flags uintptr) (pid uintptr)
//
// The child runs on the parent's stack and overwrites the return address that
// is there, so the address is kept in a register across the call.
TEXT ·rawVfork(SB),NOSPLIT|NOFRAME,$0-16
	MOVQ	flags+0(FP), DI
	XORL	SI, SI
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	XORL	R9, R9
	MOVQ	$56, AX // clone
	POPQ	R12
	SYSCALL
	PUSHQ	R12
	MOVQ	AX, pid+8(FP)
	RET
