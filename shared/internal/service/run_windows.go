package service

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/windows/svc"
)

// Run runs an agent. Started by the service control manager, it answers to it, and ctx
// ends when that asks to stop.
func Run(ctx context.Context, agent func(context.Context) int) int {
	if is, err := svc.IsWindowsService(); err != nil || !is {
		return agent(ctx)
	}
	h := &handler{ctx: ctx, agent: agent}
	if err := svc.Run("", h); err != nil { // the name counts only for processes that are several services
		fmt.Fprintf(os.Stderr, "answer to the service control manager: %v\n", err)
		return 1
	}
	return h.code
}

type handler struct {
	ctx   context.Context // of the process; svc has no other way to hand it on
	agent func(context.Context) int
	code  int
}

// Execute is what the service control manager calls.
func (h *handler) Execute(_ []string, requests <-chan svc.ChangeRequest, tell chan<- svc.Status) (bool, uint32) {
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	ended := make(chan int, 1)
	go func() { ended <- h.agent(ctx) }()
	tell <- svc.Status{State: svc.Running, Accepts: svc.AcceptStop | svc.AcceptShutdown}
	for {
		select {
		case h.code = <-ended:
			return h.code != 0, uint32(h.code)
		case r := <-requests:
			switch r.Cmd {
			case svc.Interrogate:
				tell <- r.CurrentStatus
			case svc.Stop, svc.Shutdown:
				tell <- svc.Status{State: svc.StopPending, WaitHint: uint32(StopLimit.Milliseconds())}
				cancel()
			}
		}
	}
}
