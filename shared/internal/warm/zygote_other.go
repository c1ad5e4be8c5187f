//go:build !linux

package warm

import (
	"context"
	"io"

	"github.com/stavily/agents/shared/internal/egress"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/internal/supervise"
)

// zygote is none here: there are no packets over local sockets, no subreapers and no
// Landlock, without which what is forked could not be told apart or ended.
type zygote struct {
	given, temp string
	gate        *egress.Gate
}

func raise(context.Context, *Plan, *Options) (*zygote, error) {
	return nil, &refusal{"only Linux has what keeps forked runs apart"}
}

func (z *zygote) run(context.Context, *Options) (Reason, error) { return Stopping, nil }
func (z *zygote) seat() *Seat                                   { return nil }
func (z *zygote) due(*Options) Reason                           { return "" }
func (z *zygote) retire(Reason, error)                          {}
func (z *zygote) close()                                        {}
func (z *zygote) free()                                         {}
func (z *zygote) keep(io.Closer)                                {}
func (z *zygote) takeKept() io.Closer                           { return nil }

func (z *zygote) wants() bool                          { return false }
func (z *zygote) executions() []int                    { return nil }
func (z *zygote) environment([]string) ([]byte, error) { return nil, ErrCold }

func (z *zygote) start(sandbox.Spec, string) (*supervise.Standby, error) { return nil, ErrCold }
