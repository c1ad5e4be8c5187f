#include "textflag.h"

// func rawVfork(nr, a1, a2 uintptr) (pid uintptr, errno syscall.Errno)
// The return address is in the link register, which both processes have.
TEXT ·rawVfork(SB),NOSPLIT,$0-40
	MOVD nr+0(FP), R8
	MOVD a1+8(FP), R0
	MOVD a2+16(FP), R1
	MOVD ZR, R2
	MOVD ZR, R3
	MOVD ZR, R4
	MOVD ZR, R5
	SVC
	MOVD ZR, errno+32(FP)
	CMN  $4095, R0
	BCC  done
	NEG  R0, R0
	MOVD R0, errno+32(FP)
	MOVD ZR, R0
done:
	MOVD R0, pid+24(FP)
	RET
