package pgtest

import (
	"os"
	"syscall"
)

func account(string) (*syscall.SysProcAttr, error) { return &syscall.SysProcAttr{}, nil }

func abort(p *os.Process) error { return p.Kill() }
