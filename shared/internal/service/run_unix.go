//go:build unix

package service

import "context"

// Run runs an agent. Here services are ordinary processes.
func Run(ctx context.Context, agent func(context.Context) int) int { return agent(ctx) }
