#include "textflag.h"

// func rawVfork(nr, a1, a2 uintptr) (pid uintptr, errno syscall.Errno)
TEXT ·rawVfork(SB),NOSPLIT|NOFRAME,$0-40
	MOVQ nr+0(FP), AX
	MOVQ a1+8(FP), DI
	MOVQ a2+16(FP), SI
	XORL DX, DX
	XORL R10, R10
	XORL R8, R8
	XORL R9, R9
	POPQ R12 // the return address: registers are the child's own, the stack is not
	SYSCALL
	PUSHQ R12
	MOVQ $0, errno+32(FP)
	CMPQ AX, $-4095
	JCS  done
	NEGQ AX
	MOVQ AX, errno+32(FP)
	MOVQ $0, AX
done:
	MOVQ AX, pid+24(FP)
	RET
