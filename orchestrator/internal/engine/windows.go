package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
)

// gather takes an event into the window of its group, and refuses it unless it completes one.
func (v *verdict) gather(r store.Reader, def *workflow.Definition, ev workflow.Event, now time.Time) error {
	stored, was, err := windowOf(r, def, v.Group)
	if err != nil {
		return err
	}
	g := def.Take(was, ev, now)
	if len(was.Chains) == 0 && len(g.Window.Chains) > 0 {
		open, err := r.WindowsOpen(def.Name, workflow.MaxOpen)
		if err != nil {
			return err
		}
		if open >= workflow.MaxOpen {
			full := fmt.Sprintf("%d keys are open, which is the most: let the key have fewer values, or within be shorter", open)
			g = workflow.Gathered{Clause: workflow.Clause{Clause: g.Clause.Clause, Value: full, Outcome: g.Clause.Outcome}, Reason: g.Clause.Clause + ": " + full}
		}
	}
	v.Decision = v.Gathered(g)
	for _, m := range g.Fired {
		if m.Agent == ev.Sender() && m.Event == ev.ID {
			v.events = append(v.events, ev)
			continue
		}
		if err := v.join(r, m); err != nil {
			return err
		}
	}
	stored.Closes = g.Window.Closes
	if stored.Doc, err = json.Marshal(g.Window); err != nil {
		return fmt.Errorf("window of workflow %s: %w", def.Name, err)
	}
	v.window = &stored
	return nil
}

// join adds a member that is still there.
func (v *verdict) join(r store.Reader, m workflow.Member) error {
	ev, err := eventOf(r, m.Agent, m.Event)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	v.events = append(v.events, ev)
	return err
}

// windowOf is the window of a group; an empty one where there is none that this definition
// can go on with.
func windowOf(r store.Reader, def *workflow.Definition, group string) (stored store.Window, w workflow.Window, err error) {
	stored, err = r.Window(def.Name, group)
	if errors.Is(err, store.ErrNotFound) {
		return store.Window{Workflow: def.Name, Key: group}, w, nil
	}
	if err == nil {
		err = json.Unmarshal(stored.Doc, &w)
	}
	if err != nil {
		return stored, w, fmt.Errorf("window %q of workflow %s: %w", group, def.Name, err)
	}
	if !def.Gather.Fits(w) {
		w = workflow.Window{}
	}
	return stored, w, nil
}

// putWindow stores a window, or drops one that is empty.
func (t *tx) putWindow(w store.Window) error {
	if w.Closes.IsZero() {
		return t.DropWindow(w)
	}
	t.due = earlier(t.due, w.Closes)
	return t.PutWindow(w)
}

// closeOverdue closes the window of a decision's group if its time is over and the reaper has
// not come to it yet.
func (t *tx) closeOverdue(p program, d workflow.Decision) error {
	return t.closeDue(store.Window{Workflow: p.name, Key: d.Group})
}

// closeWindow ends a window whose time is over, and starts what it makes.
func (t *tx) closeWindow(stored store.Window) error {
	if err := t.DropWindow(stored); err != nil {
		return err
	}
	programs, err := t.inEffect()
	if err != nil {
		return err
	}
	for _, p := range programs {
		if p.name != stored.Workflow || p.Gather == nil {
			continue
		}
		var w workflow.Window
		if err := json.Unmarshal(stored.Doc, &w); err != nil {
			return fmt.Errorf("window %q of workflow %s: %w", stored.Key, p.name, err)
		}
		if !p.Gather.Fits(w) {
			return nil // the workflow means something else by now
		}
		return t.fire(p, p.Close(w))
	}
	return nil // the workflow was deleted
}

// fire decides on what a window has made when its time was over.
func (t *tx) fire(p program, g workflow.Gathered) error {
	if g.Fired == nil {
		return nil
	}
	v := verdict{noted: true}
	for _, m := range g.Fired {
		if err := v.join(t, m); err != nil {
			return err
		}
	}
	if len(v.events) == 0 {
		return nil
	}
	last := v.events[len(v.events)-1]
	last.Now = t.now
	v.Decision = p.Decide(last)
	if v.Run {
		v.Decision = v.Gathered(g)
	}
	if v.Run {
		if p.Gather.Correlates() {
			v.noted = false
			past, err := pastOf(t, p.Definition, v.Decision)
			if err != nil {
				return err
			}
			v.Decision = p.HoldEvent(v.Decision, past, t.now)
		}
		if err := v.holdRun(t, p.Definition, last, t.now); err != nil {
			return err
		}
	}
	return t.settle(p, last, v)
}

// closeDue closes a window unless an event has moved or closed it since it was found due.
func (t *tx) closeDue(w store.Window) error {
	w, err := t.Window(w.Workflow, w.Key)
	if errors.Is(err, store.ErrNotFound) || err == nil && w.Closes.After(t.now) {
		return nil
	}
	if err != nil {
		return err
	}
	return t.closeWindow(w)
}
