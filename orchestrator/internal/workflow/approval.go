package workflow

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/workflow/expr"
	"github.com/stavily/agents/shared/pkg/api"
)

// Approval is a step that waits for people. It completes when enough have approved what the
// steps that need it would do; it is rejected when one denies it.
type Approval struct {
	Group     string // whose members decide; empty: everybody who may decide at all
	Count     int    // people who must approve
	Self      bool   // whoever started the run by hand may
	Within    time.Duration
	Otherwise bool // approved when nobody has decided within the time, else denied
}

const (
	defaultApproval = time.Hour
	maxApprovers    = 10
	maxApproval     = 7 * 24 * time.Hour
)

// groupPattern is what a group of users may be called.
var groupPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// Asked is what people are asked to approve.
type Asked struct {
	Digest string     `json:"digest"` // of Steps
	Steps  []Proposal `json:"steps"`
}

// Proposal is what one step would do.
type Proposal struct {
	Step    string                     `json:"step"`
	Plugin  api.PluginID               `json:"plugin"`
	Version string                     `json:"version,omitempty"`
	On      string                     `json:"on"`
	Input   map[string]json.RawMessage `json:"input,omitempty"`
	Secrets []instruction.SecretText   `json:"secrets,omitempty"` // where which are put into it, never what
	Type    string                     `json:"type,omitempty"`    // of the instruction, where it is not to execute
	Setup   *api.PluginConfiguration   `json:"plugin_configuration,omitempty"`
}

// proposal is what a step would do, but where and with which values.
func proposal(step StepDefinition) Proposal {
	out := Proposal{Step: step.ID, Plugin: step.Plugin, Version: step.Version}
	if step.Type != api.TypeExecute {
		out.Type = step.Type
	}
	if !reflect.ValueOf(step.Setup).IsZero() {
		out.Setup = &step.Setup
	}
	return out
}

// anyAgent stands for the agent in what a step would do on each of several.
var anyAgent = map[string]any{"id": "*", "name": "*", "host": "*", "tags": []string{}}

// asked renders what the steps that need an approval would do now.
func (m *machine) asked(id string) (Asked, error) {
	out := Asked{Steps: []Proposal{}}
	for _, step := range m.d.Actions {
		if !slices.Contains(step.Needs, id) || step.Plugin == "" {
			continue
		}
		values, err := m.values()
		if err != nil {
			return out, err
		}
		would := proposal(step)
		would.On = step.Target.String()
		if step.Each != nil {
			values[expr.Agent] = anyAgent
			would.On = "each of the agents " + step.Each.Selector.String()
		}
		if would.Input, err = render(step.with, values); err != nil {
			return out, fmt.Errorf("step %s: %w", step.ID, err)
		}
		if would.Secrets, err = m.d.secretTexts(step.secrets, values, true); err != nil {
			return out, fmt.Errorf("step %s: %w", step.ID, err)
		}
		out.Steps = append(out.Steps, would)
	}
	text, err := json.Marshal(out.Steps)
	if err == nil && len(text) > 2*MaxInputBytes {
		err = errInputTooLarge
	}
	out.Digest = digestOf(text)
	return out, err
}

// ask begins to wait for people.
func (m *machine) ask(step StepDefinition) {
	asked, err := m.asked(step.ID)
	if err != nil {
		m.end(step.ID, StepState{Status: StepStatus(api.Failed), Error: clip(err.Error())})
		return
	}
	m.s.Steps[step.ID] = StepState{Status: StepAsking, Digest: asked.Digest}
	m.record(StepAsks, step.ID, "for %d approvals"+of(step.Approval.Group)+" within %s of %s", step.Approval.Count, step.Approval.Within, asked.Digest)
	m.emit(Ask{Step: step.ID, Asked: asked, Group: step.Approval.Group, Count: step.Approval.Count, Within: step.Approval.Within})
	m.emit(SetAlarm{step.ID, 0, step.Approval.Within})
	for _, output := range m.d.Outputs {
		if slices.Contains(output.On, ApprovalNeeded) {
			output.ID = tellingOf(output.ID, step.ID)
			m.dispatch(output, true)
		}
	}
}

// of names the group of people who decide, where there is one. Its name has no verb of fmt.
func of(group string) string {
	if group == "" {
		return ""
	}
	return " of the group " + group
}

// tellingOf is the id of an output that tells of an approval that is needed.
func tellingOf(output, step string) string { return output + "@" + step }

// Telling reports whether a step of a run, by its id, tells of an approval that is needed.
func Telling(step string) bool { return strings.Contains(step, "@") }

// tellings are the ids of what tells of an approval, whether or not it has begun.
func (d *Definition) tellings(approval string) []string {
	var ids []string
	for _, output := range d.Outputs {
		if slices.Contains(output.On, ApprovalNeeded) {
			ids = append(ids, tellingOf(output.ID, approval))
		}
	}
	return ids
}

// outdated reports whether a step tells of an approval that nobody has to give any more.
func (m *machine) outdated(id string) bool {
	_, approval, telling := strings.Cut(id, "@")
	return telling && m.s.Steps[approval].Status != StepAsking
}

// decided ends an approval, and what was to tell of it and is not under way: nobody needs that
// any more.
func (m *machine) decided(id string, final StepState) {
	m.end(id, final)
	for _, telling := range m.d.tellings(id) {
		switch s := m.s.Steps[telling]; s.Status {
		case StepDispatched:
			m.emit(CancelStep{telling})
		case StepRetrying:
			m.end(telling, StepState{Status: StepStatus(api.Cancelled), Try: s.Try, Error: fmt.Sprintf("approval %s is over", id)})
		}
	}
}

// judged takes what one person says. Whether they may say it the engine has found out with
// [State.MayJudge].
func (m *machine) judged(in Verdict) error {
	step, err := m.dispatched(in.Step)
	if err != nil || step.Status != StepAsking || in.Digest != step.Digest || slices.Contains(step.Votes, in.By) {
		return err
	}
	if !in.Approve {
		m.decided(in.Step, StepState{Status: StepStatus(api.Rejected), Digest: step.Digest, Error: clip(strings.TrimSuffix("denied by "+in.By+": "+in.Reason, ": "))})
		m.advance()
		return nil
	}
	step.Votes = append(slices.Clone(step.Votes), in.By)
	want := m.d.step(in.Step).Approval.Count
	m.record(StepApproved, in.Step, "by %s, %d of %d", clip(in.By), len(step.Votes), want)
	if len(step.Votes) < want {
		m.s.Steps[in.Step] = step
		return nil
	}
	m.approved(in.Step, step)
	m.advance()
	return nil
}

func (m *machine) approved(id string, step StepState) {
	result, _ := json.Marshal(map[string][]string{"approved_by": append([]string{}, step.Votes...)}) // texts only
	m.decided(id, StepState{
		Status: StepStatus(api.Completed), Satisfied: true, Digest: step.Digest, Votes: step.Votes,
		Result: m.keep(StepEnded{Step: id, Result: result}),
	})
}

// undecided ends an approval that nobody has decided in its time.
func (m *machine) undecided(d StepDefinition, step StepState) {
	if d.Approval.Otherwise {
		m.approved(d.ID, step)
		return
	}
	m.decided(d.ID, StepState{Status: StepStatus(api.Rejected), Digest: step.Digest, Error: fmt.Sprintf("denied: %d of %d approvals came within %s", len(step.Votes), d.Approval.Count, d.Approval.Within)})
}

// unapproved says why a step may not do what it would: it is not what was approved.
func (m *machine) unapproved(step StepDefinition) error {
	for _, need := range step.Needs {
		s := m.s.Steps[need]
		if s.Digest == "" {
			continue
		}
		now, err := m.asked(need)
		if err == nil && now.Digest != s.Digest {
			err = fmt.Errorf("approval %s was of %s, and it would do %s", need, s.Digest, now.Digest)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// MayJudge says why somebody may not decide on a step of a run, if they may not.
func (s State) MayJudge(d *Definition, in Verdict) string {
	step, known := s.Steps[in.Step]
	switch {
	case s.Done || !known || step.Status != StepAsking:
		return fmt.Sprintf("Step %q of run %s does not wait for an approval.", in.Step, s.Run)
	case step.Digest != in.Digest:
		return fmt.Sprintf("Step %q of run %s asks for an approval of %s; look at it again.", in.Step, s.Run, step.Digest)
	case d.step(in.Step).Approval.Group != "" && !slices.Contains(in.Groups, d.step(in.Step).Approval.Group):
		return fmt.Sprintf("%s is not a user in the group %s, who decide on step %q; an admin can put users into groups.", in.By, d.step(in.Step).Approval.Group, in.Step)
	case slices.Contains(step.Votes, in.By):
		return fmt.Sprintf("%s has approved it already; somebody else must.", in.By)
	case in.Approve && slices.Contains(s.people(), in.By) && !d.step(in.Step).Approval.Self:
		return fmt.Sprintf("%s has started the run; somebody else must approve it.", in.By)
	}
	return ""
}

// people are who started a run by hand, directly or through other workflows.
func (s State) people() []string { return slices.Concat(s.By, s.Event.people()) }

// people are who started by hand, or again, what an event begins; of one that tells that a run has
// ended those of that run.
func (e Event) people() []string {
	var by []string
	switch one := ""; {
	case e.Own && e.Type == TypeManual && json.Unmarshal(e.Metadata["by"], &one) == nil:
		by = []string{one}
	case e.Own && e.Type == TypeEnded:
		_ = json.Unmarshal(e.Metadata["by"], &by) // nobody, where it is no list
	}
	if e.RetriedBy != "" {
		by = append(by, e.RetriedBy)
	}
	return by
}

// approval checks a step that waits for people.
func (c *checker) approval(path []any, a action, taken map[string]bool) StepDefinition {
	for _, key := range append([]string{"wait_for"}, ofPlugins...) {
		if c.doc.Has(at(path, key)) {
			c.fail(at(path, key), "%s is not for a step with approval: leave it out", key)
		}
	}
	where, said := at(path, "approval"), a.Approval
	if c.doc.Has(at(where, "group")) && !groupPattern.MatchString(said.Group) {
		c.fail(at(where, "group"), "group %q: must be lower-case letters, digits and . _ -, at most 64", said.Group)
	}
	out := &Approval{Group: said.Group, Count: 1, Self: said.Self, Otherwise: said.Otherwise == "approve"}
	if c.doc.Has(at(where, "count")) {
		if out.Count = said.Count; said.Count < 1 || said.Count > maxApprovers {
			c.fail(at(where, "count"), "count %d: must be from 1 to %d", said.Count, maxApprovers)
		}
	}
	out.Within = c.duration(at(where, "within"), said.Within, defaultApproval, time.Second, maxApproval)
	if c.doc.Has(at(where, "otherwise")) && !slices.Contains([]string{"approve", "deny"}, said.Otherwise) {
		c.fail(at(where, "otherwise"), "otherwise %q: must be deny or approve", said.Otherwise)
	}
	if a.ID == "" {
		c.fail(path, "id is missing: a step with approval needs one")
	} else {
		c.id(at(path, "id"), a.ID, taken)
	}
	return StepDefinition{ID: a.ID, Approval: out}
}

// approvals holds that what is approved is what is done: the values of a step that needs an
// approval read nothing that is known only after it.
func (c *checker) approvals(upstream map[string]map[string]bool) {
	for i, a := range c.def.Actions {
		if a.Approval == nil {
			continue
		}
		needed := false
		for j, s := range c.def.Actions {
			if !slices.Contains(s.Needs, a.ID) {
				continue
			}
			needed = true
			if s.timed {
				c.fail([]any{"actions", j, "with"}, "with reads now, which is another time when approval %s is given: use event.timestamp", a.ID)
			}
			for _, id := range s.reads {
				if !upstream[a.ID][id] {
					c.fail([]any{"actions", j, "with"}, "with reads step %s, which may end after approval %s: let the approval need it, so that people see what they approve", id, a.ID)
				}
			}
		}
		if !needed {
			c.fail([]any{"actions", i, "approval"}, "approval holds nothing back: let a step need %s", a.ID)
		}
	}
}
