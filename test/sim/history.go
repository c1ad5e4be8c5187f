package sim

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/orchestrator/simulated"
	"github.com/stavily/agents/shared/pkg/api"
)

// attempt is one of an instruction.
type attempt struct {
	id api.InstructionID
	n  int
}

// accepted is an event of which a plugin was told that it is kept.
type accepted struct {
	n    int
	kind string
	by   api.AgentID
	id   api.EventID
	at   time.Time
}

// history is what the world has seen happen, in no book of ours.
type history struct {
	mu       sync.Mutex // guards the fields below
	accepted []accepted
	latest   map[string]time.Time                        // by lease: when what was offered under it must have begun
	begun    map[attempt]int                             // how often
	ended    map[attempt]api.InstructionStatus           // as the plugin did
	kept     map[attempt]bool                            // ended and journalled
	final    map[api.InstructionID]api.InstructionStatus // as operators were first told
	early    map[api.InstructionID]bool                  // told already
	harmed   bool                                        // by more than clocks
	// lockedOut: agents were refused because of a clock; astray: the server's was set while no
	// server ran, or forward just before one died, which nobody can tell from time that passed.
	lockedOut, astray bool
	violated          []string
}

func newHistory() history {
	return history{
		latest: map[string]time.Time{}, begun: map[attempt]int{}, ended: map[attempt]api.InstructionStatus{},
		kept: map[attempt]bool{}, final: map[api.InstructionID]api.InstructionStatus{}, early: map[api.InstructionID]bool{},
	}
}

// broken records that a promise was not kept.
func (w *world) broken(promise string, lines ...string) {
	w.history.mu.Lock()
	defer w.history.mu.Unlock()
	for _, line := range lines {
		w.history.violated = append(w.history.violated, promise+": "+line)
	}
}

func (h *history) accept(a accepted) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.accepted = append(h.accepted, a)
}

func (h *history) strays() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.astray = true
}

// offer notes that an offer reached its agent, whose time begins to run then.
func (h *history) offer(i api.Instruction) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i.ExpiresInSeconds > 0 {
		h.latest[i.Lease] = time.Now().Add(time.Duration(i.ExpiresInSeconds) * time.Second)
	}
}

// begin notes that a plugin has its effect now, and holds what must be true before.
func (w *world) beganAttempt(l *life, i *api.Instruction) {
	h := &w.history
	a := attempt{i.ID, i.Attempt}
	h.mu.Lock()
	h.begun[a]++
	times, latest := h.begun[a], h.latest[i.Lease]
	h.mu.Unlock()
	name := fmt.Sprintf("attempt %d of %s", i.Attempt, w.label(string(i.ID)))
	if times > 1 {
		w.broken("StartOnce", fmt.Sprintf("%s began %d times", name, times))
	}
	if now := time.Now(); !latest.IsZero() && now.After(latest) {
		w.broken("NoStartAfterTTL", fmt.Sprintf("%s began %v after its time", name, now.Sub(latest)))
	}
	text, err := limits.ReadFile(filepath.Join(l.dir, "logs", "audit", "audit.log"), maxBody)
	w.fail("read the audit log", err)
	told := slices.ContainsFunc(strings.Split(string(text), "\n"), func(line string) bool {
		return strings.Contains(line, `"instruction_started"`) && strings.Contains(line, string(i.ID))
	})
	if !told {
		w.broken("AuditBeforeEffect", name+" began and the audit log does not say so")
	}
}

// endedAttempt notes how a plugin ended. It counts as journalled when its agent lives on for
// longer than the journal takes.
func (w *world) endedAttempt(l *life, i *api.Instruction, s api.InstructionStatus) {
	h := &w.history
	a := attempt{i.ID, i.Attempt}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended[a] = s
	if s == api.Cancelled { // stopped, for which there are reasons that only the agent knows
		return
	}
	w.living.Go(func() {
		time.Sleep(2 * time.Second) // a report under way is waited for, for a second
		if !l.dead.Load() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.kept[a] = true
		}
	})
}

// observe looks as operators do: what they were once told stays true.
func (w *world) observe(s simulated.State) {
	h := &w.history
	at := map[api.EventID]time.Time{}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.accepted {
		at[a.id] = a.at
	}
	say := func(format string, args ...any) { h.violated = append(h.violated, fmt.Sprintf(format, args...)) }
	for _, i := range s.Instructions {
		if !i.Status.Terminal() {
			continue
		}
		switch was := h.final[i.ID]; {
		case was == "" || was == api.Interrupted: // a late result of an agent that was given up is still taken
			h.final[i.ID] = i.Status
		case was != i.Status:
			say("FirstResultWins: instruction %s was %s and is %s", i.ID, was, i.Status)
		}
		since := time.Since(at[i.EventID])
		if i.Status == api.Expired && since < lifetime && !h.astray && !at[i.EventID].IsZero() && !h.early[i.ID] {
			h.early[i.ID] = true
			say("NoEarlyExpiry: %s expired after %v of %v", i.ID, since, lifetime)
		}
	}
}
