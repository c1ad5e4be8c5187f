package agent

import (
	"context"
	"time"

	"github.com/stavily/agents/shared/internal/service"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

const (
	// statusEvery is how often the status line is looked at where no watchdog asks for more.
	statusEvery = 20 * time.Second
	// maxStatus keeps a status on one line of `systemctl status`.
	maxStatus = 200
)

// tellManager tells systemd that the agent is up, how it is, and that it ends. An agent
// that waits for its certificate is up. The watchdog is fed only while nothing is failing:
// a stuck loop ends in a new process.
func (rt *Runtime) tellManager(ctx context.Context) error {
	if !service.Notified() {
		<-ctx.Done()
		return nil
	}
	every, watchdog := statusEvery, service.Watchdog()
	if watchdog > 0 {
		every = min(every, watchdog/3) // two may be late before it bites
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	ready, said := false, "" // what the manager has heard
	for {
		var lines []string
		health := rt.Health.Snapshot()
		status := oneLine(health)
		if !ready {
			lines = append(lines, "READY=1")
		}
		if status != said {
			lines = append(lines, "STATUS="+status)
		}
		if watchdog > 0 && health.Status != string(Failing) {
			lines = append(lines, "WATCHDOG=1")
		}
		if len(lines) > 0 {
			if err := service.Notify(lines...); err != nil {
				rt.Log.Warn("the service manager is not told", telemetry.KeyError, err)
			} else {
				ready, said = true, status
			}
		}
		select {
		case <-ctx.Done():
			return service.Notify("STOPPING=1", "STATUS=stopping")
		case <-tick.C:
		}
	}
}

// oneLine is the agent's health for people who list services.
func oneLine(h api.Health) string {
	line := h.Status
	for _, c := range h.Conditions {
		if c.Status == h.Status {
			line += ": " + c.Name + ": " + c.Message
			break
		}
	}
	out := []rune(line)
	for i, r := range out {
		if r < ' ' { // a line break would begin another field
			out[i] = ' '
		}
	}
	return string(out[:min(len(out), maxStatus)])
}
