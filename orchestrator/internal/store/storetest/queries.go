package storetest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// keys of records, so that a test can say which it wants in a line.
func keys[V any, K any](records []V, key func(V) K) []K {
	out := []K{}
	for _, r := range records {
		out = append(out, key(r))
	}
	return out
}

func testEventPages(f *fixture) {
	f.update(func(tx store.Tx) error {
		for n := range 6 {
			e := sampleEvent("x")
			e.ID, e.Type, e.Agent = api.EventID(fmt.Sprint("E", n)), []string{"a.a", "b.b"}[n%2], []api.AgentID{"x", "y", "z"}[n/2]
			if err := tx.AddEvent(e); err != nil {
				return err
			}
		}
		return nil
	})
	all := read(f, org, func(r store.Reader) ([]store.Event, error) { return r.Events(store.EventQuery{}) })
	f.equal("cursors", keys(all, func(e store.Event) int64 { return e.Cursor }), []int64{1, 2, 3, 4, 5, 6})
	for _, c := range []struct {
		query store.EventQuery
		want  string
	}{
		{store.EventQuery{Limit: 2}, "[E0 E1]"},
		{store.EventQuery{Limit: 2, After: 2}, "[E2 E3]"},
		{store.EventQuery{After: 6}, "[]"},
		{store.EventQuery{Limit: 2, Newest: true}, "[E5 E4]"},
		{store.EventQuery{Newest: true, After: 4}, "[E5 E4]"},
		{store.EventQuery{Limit: 2, Newest: true, Before: 4}, "[E2 E1]"},
		{store.EventQuery{Newest: true, Before: 1}, "[]"},
		{store.EventQuery{Type: "b.b"}, "[E1 E3 E5]"},
		{store.EventQuery{Agent: "y"}, "[E2 E3]"},
		{store.EventQuery{Agent: "y", Type: "a.a", Newest: true}, "[E2]"},
	} {
		got := read(f, org, func(r store.Reader) ([]store.Event, error) { return r.Events(c.query) })
		f.equal(fmt.Sprintf("Events(%+v)", c.query), fmt.Sprint(keys(got, func(e store.Event) api.EventID { return e.ID })), c.want)
	}
}

func testOwnEvents(f *fixture) {
	f.update(func(tx store.Tx) error {
		e := sampleEvent("x")
		e.ID, e.Agent = "OWN", store.OwnSender
		return tx.AddEvent(e)
	})
	got := read(f, org, func(r store.Reader) ([]store.Event, error) { return r.EventsWithID("OWN") })
	f.equal("events of the server's own", keys(got, func(e store.Event) api.AgentID { return e.Agent }), []api.AgentID{store.OwnSender})
}

func testNewestGaps(f *fixture) {
	f.update(func(tx store.Tx) error {
		var err error
		for n := range 6 {
			g := sampleGap("x")
			g.Agent, g.Epoch, g.From, g.ReceivedAt = []api.AgentID{"x", "y"}[n/5], "e"+fmt.Sprint(n%2), uint64(n), start.Add(time.Duration(n/2)*time.Second)
			err = errors.Join(err, tx.PutGap(g))
		}
		return err
	})
	for limit, want := range map[int]string{2: "[4 3]", 4: "[4 3 2 1]", 6: "[4 3 2 1 0]"} {
		got := read(f, org, func(r store.Reader) ([]store.Gap, error) { return r.NewestGaps("x", limit) })
		f.equal(fmt.Sprint("the newest ", limit), fmt.Sprint(keys(got, func(g store.Gap) uint64 { return g.From })), want)
	}
}

func testRunPages(f *fixture) {
	f.update(func(tx store.Tx) error {
		for n := range 6 {
			r := sampleRun("x")
			r.ID, r.Workflow, r.Status = api.RunID(fmt.Sprint("R", n)), []string{"a", "b"}[n%2], []string{"running", "failed", "failed"}[n/2]
			if err := tx.PutRun(r); err != nil {
				return err
			}
		}
		return nil
	})
	for _, c := range []struct {
		query store.RunQuery
		want  string
	}{
		{store.RunQuery{}, "[R5 R4 R3 R2 R1 R0]"},
		{store.RunQuery{Limit: 2}, "[R5 R4]"},
		{store.RunQuery{Limit: 2, Before: "R4"}, "[R3 R2]"},
		{store.RunQuery{Before: "R0"}, "[]"},
		{store.RunQuery{Workflow: "a"}, "[R4 R2 R0]"},
		{store.RunQuery{Workflow: "a", Before: "R4", Limit: 1}, "[R2]"},
		{store.RunQuery{Status: "failed"}, "[R5 R4 R3 R2]"},
		{store.RunQuery{Status: "failed", Workflow: "b"}, "[R5 R3]"},
		{store.RunQuery{Status: "failed", Workflow: "b", Before: "R5", Limit: 1}, "[R3]"},
		{store.RunQuery{Status: "running"}, "[R1 R0]"},
		{store.RunQuery{Status: "running", Workflow: "a"}, "[R0]"},
		{store.RunQuery{Status: "escalated"}, "[]"},
	} {
		got := read(f, org, func(r store.Reader) ([]store.Run, error) { return r.Runs(c.query) })
		f.equal(fmt.Sprintf("Runs(%+v)", c.query), fmt.Sprint(keys(got, func(r store.Run) api.RunID { return r.ID })), c.want)
	}
	marks := read(f, org, func(r store.Reader) ([]store.RunMark, error) { return r.RunMarks("b", 2) })
	f.equal("RunMarks(b, 2)", marks, []store.RunMark{{ID: "R5", Workflow: "b", Status: "failed"}, {ID: "R3", Workflow: "b", Status: "failed"}})
	marks = read(f, org, func(r store.Reader) ([]store.RunMark, error) { return r.RunMarks("", 9) })
	f.equal("number of RunMarks", len(marks), 6)
	for _, c := range []struct {
		workflow    string
		from        api.RunID
		limit, want int
	}{{"a", "R0", 9, 3}, {"a", "R1", 9, 2}, {"a", "R5", 9, 0}, {"b", "R1", 2, 2}, {"none", "R0", 9, 0}} {
		got := read(f, org, func(r store.Reader) (int, error) { return r.RunsFrom(c.workflow, c.from, c.limit) })
		f.equal(fmt.Sprintf("RunsFrom(%+v)", c), got, c.want)
	}
}

func testLogPages(f *fixture) {
	f.update(func(tx store.Tx) error {
		var lines []store.Log
		for n := range 4 {
			l := sampleLog(fmt.Sprint("L", n))
			l.Run, l.Instruction = []api.RunID{"r", ""}[n/2], []api.InstructionID{"i", "", "j", "i"}[n]
			lines = append(lines, l)
		}
		return errors.Join(tx.AddLogs(lines[:3]), tx.AddLogs(lines[3:]))
	})
	for _, c := range []struct {
		query store.LogQuery
		want  string
	}{
		{store.LogQuery{}, "[L0 L1 L2 L3]"},
		{store.LogQuery{After: 1, Limit: 2}, "[L1 L2]"},
		{store.LogQuery{Run: "r"}, "[L0 L1]"},
		{store.LogQuery{Run: "r", After: 1}, "[L1]"},
		{store.LogQuery{Run: "r", Newest: true}, "[L0 L1]"},
		{store.LogQuery{Run: "r", Newest: true, Limit: 1}, "[L1]"},
		{store.LogQuery{Instruction: "i"}, "[L0 L3]"},
		{store.LogQuery{Instruction: "i", Run: "r"}, "[L0]"},
		{store.LogQuery{Instruction: "i", Limit: 1}, "[L0]"},
	} {
		got := read(f, org, func(r store.Reader) ([]store.Log, error) { return r.Logs(c.query) })
		f.equal(fmt.Sprintf("Logs(%+v)", c.query), fmt.Sprint(keys(got, func(l store.Log) string { return l.Message })), c.want)
	}
}

func testAuditPages(f *fixture) {
	for n := range 3 {
		f.update(func(tx store.Tx) error { return tx.AddAudit(sampleAudit(fmt.Sprint("A", n))) })
	}
	got := read(f, org, func(r store.Reader) ([]store.Audit, error) { return r.Audit(1, 1) })
	if len(got) != 1 || got[0].Detail != "A1" || got[0].Seq != 2 {
		f.Errorf("Audit(1, 1) = %+v, want A1 with seq 2", got)
	}
	for before, want := range map[int64]string{0: "[A2 A1]", 3: "[A1 A0]", 1: "[]"} {
		got := read(f, org, func(r store.Reader) ([]store.Audit, error) { return r.AuditBefore(before, 2) })
		f.equal(fmt.Sprintf("AuditBefore(%d, 2)", before), fmt.Sprint(keys(got, func(a store.Audit) string { return a.Detail })), want)
	}
}

func testWorkflowVersions(f *fixture) {
	add := func(text string, want int) {
		f.Helper()
		f.update(func(tx store.Tx) error {
			version, err := tx.AddWorkflow(sampleWorkflow(text))
			if version != want {
				f.Errorf("adding %s made version %d, want %d", text, version, want)
			}
			return err
		})
	}
	current := func() string {
		f.Helper()
		texts := keys(read(f, org, store.Reader.Workflows), func(w store.Workflow) string { return w.Text })
		return fmt.Sprint(texts)
	}
	add("one", 1)
	add("two", 2)
	f.equal("current", current(), "[two]")
	f.update(func(tx store.Tx) error { return tx.DeleteWorkflow("clean") })
	f.equal("current after the deletion", current(), "[]")
	f.view(func(r store.Reader) error {
		if w, err := r.Workflow("clean"); !errors.Is(err, store.ErrNotFound) {
			f.Errorf("Workflow after the deletion = %+v, %v; want ErrNotFound", w, err)
		}
		return nil
	})
	if err := f.store.Org(org).Update(f.Context(), func(tx store.Tx) error { return tx.DeleteWorkflow("clean") }); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("deleting it again: %v, want ErrNotFound", err)
	}
	old := read(f, org, func(r store.Reader) (store.Workflow, error) { return r.WorkflowVersion("clean", 2) })
	f.equal("a deleted version", old.Text, "two")
	add("three", 3)
	f.equal("current after adding it again", current(), "[three]")
	for limit, want := range map[int]string{0: "[three two one]", 2: "[three two]"} {
		versions := read(f, org, func(r store.Reader) ([]store.Workflow, error) { return r.WorkflowVersions("clean", limit) })
		f.equal("versions", fmt.Sprint(keys(versions, func(w store.Workflow) string { return w.Text })), want)
	}
}

func testLanes(f *fixture) {
	f.update(func(tx store.Tx) error {
		for n, status := range []string{"running", "queued", "running", "completed", "running", "escalated"} {
			r := sampleRun("x")
			r.ID, r.Workflow, r.Status, r.Key = api.RunID(fmt.Sprint("R", n)), "w", status, []string{"k", "l"}[n/4]
			r.Lane, r.Host = []string{"a", "a", "b"}[n%3], []string{"h", "g"}[n%2]
			if err := tx.PutRun(r); err != nil {
				return err
			}
		}
		return nil
	})
	lane := func(name, status string, limit int) string {
		f.Helper()
		return fmt.Sprint(read(f, org, func(r store.Reader) ([]api.RunID, error) { return r.RunsOfLane("w", name, status, limit) }))
	}
	f.equal("running in a", lane("a", "running", 10), "[R0 R4]")
	f.equal("one of them", lane("a", "running", 1), "[R0]")
	f.equal("queued in a", lane("a", "queued", 10), "[R1]")
	f.equal("running in b", lane("b", "running", 10), "[R2]")
	f.equal("in none", lane("c", "running", 10), "[]")
	f.equal("hosts", fmt.Sprint(read(f, org, func(r store.Reader) ([]string, error) { return r.HostsWorkedOn("w") })), "[h]")
	count := func(from api.RunID, limit int) string {
		f.Helper()
		return fmt.Sprint(read(f, org, func(r store.Reader) (map[string]int, error) { return r.RunsOfKeyFrom("w", "k", from, limit) }))
	}
	f.equal("of the key", count("", 10), "map[completed:1 queued:1 running:2]")
	f.equal("from one on", count("R1", 10), "map[completed:1 queued:1 running:1]")
	f.equal("at most two", count("", 2), "map[completed:1 running:1]")
	f.update(func(tx store.Tx) error { // a run ends
		r := sampleRun("x")
		r.ID, r.Workflow, r.Status, r.Lane = "R0", "w", "failed", "a"
		return tx.PutRun(r)
	})
	f.equal("when one has ended", lane("a", "running", 10), "[R4]")
}

func testCooldownsEnd(f *fixture) {
	f.update(func(tx store.Tx) error {
		return errors.Join(tx.SetCooldown("w", "a", after(10)), tx.SetCooldown("w", "b", after(30)), tx.SetCooldown("v", "a", after(20)), tx.SetCooldown("w", "c", after(31)))
	})
	kept := func() (out []string) {
		f.Helper()
		for _, c := range [][2]string{{"w", "a"}, {"v", "a"}, {"w", "b"}, {"w", "c"}} {
			if _, some, err := ask2(f, org, func(r store.Reader) (time.Time, bool, error) { return r.CooldownUntil(c[0], c[1]) }); some || err != nil {
				out = append(out, c[0]+c[1])
			}
		}
		return out
	}
	for _, c := range []struct {
		by, limit int
		want      string
	}{{9, 9, "[wa va wb wc]"}, {30, 2, "[wb wc]"}, {30, 2, "[wc]"}, {30, 2, "[wc]"}} {
		f.update(func(tx store.Tx) error { return tx.DropCooldowns(after(c.by), c.limit) })
		f.equal(fmt.Sprintf("after DropCooldowns(%d, %d)", c.by, c.limit), fmt.Sprint(kept()), c.want)
	}
}

func testActiveRuns(f *fixture) {
	active := func(workflow, key string) bool {
		f.Helper()
		return read(f, org, func(r store.Reader) (bool, error) { return r.RunActive(workflow, key) })
	}
	for _, status := range []string{"running", "queued", "completed"} { // the last waits for its outputs
		run := sampleRun("x")
		run.Status, run.FinishedAt = status, time.Time{}
		f.update(func(tx store.Tx) error { return tx.PutRun(run) })
		if active("clean", "web-1") != (status != "completed") || active("clean", "web-2") || active("other", "web-1") {
			f.Errorf("RunActive must be true for the workflow and key of a run that goes on, and for no other: not so where it is %s", status)
		}
	}
	f.update(func(tx store.Tx) error { return tx.PutRun(sampleRun("finished")) })
	if active("clean", "web-1") {
		f.Error("RunActive is true for a run that has finished")
	}
}

// offered makes instructions pending, of which nothing but the given matters.
func offered(id string, change func(*instruction.Spec)) instruction.Instruction {
	spec := instruction.Spec{ID: api.InstructionID(id), Plugin: "p", ExpiresAt: after(60)}
	change(&spec)
	return instruction.New(spec, start)
}

func (f *fixture) put(instructions ...instruction.Instruction) {
	f.Helper()
	f.update(func(tx store.Tx) error {
		for _, i := range instructions {
			if err := tx.PutInstruction(i); err != nil {
				return err
			}
		}
		return nil
	})
}

func testOfferOrder(f *fixture) {
	priority := func(p string) func(*instruction.Spec) {
		return func(s *instruction.Spec) { s.Priority = p }
	}
	expired := offered("I7", func(s *instruction.Spec) { s.ExpiresAt = start })
	taken, _, _ := instruction.Step(offered("I8", priority(api.PriorityHigh)), instruction.Offer{Agent: "a", Now: start, TTL: 1})
	// Whom they are for does not change the order.
	own := offered("I6", func(s *instruction.Spec) {
		s.Priority, s.Target = api.PriorityHigh, instruction.Target{Agents: []api.AgentID{"a"}}
	})
	host := offered("I3", func(s *instruction.Spec) { s.Target = instruction.Target{Host: "h"} })
	f.put(offered("I4", priority(api.PriorityNormal)), offered("I1", priority(api.PriorityLow)), offered("I5", priority(api.PriorityHigh)),
		own, host, expired, taken)
	agent := store.Agent{ID: "a", Type: api.Action, Hostname: "h"}
	for limit, want := range map[int]string{10: "[I5 I6 I3 I4 I1]", 3: "[I5 I6 I3]"} {
		got := read(f, org, func(r store.Reader) ([]api.InstructionID, error) { return r.Offerable(agent, start, limit) })
		f.equal("Held", read(f, org, func(r store.Reader) (int, error) { return r.Held("a") }), 1)
		f.equal("Held by another", read(f, org, func(r store.Reader) (int, error) { return r.Held("b") }), 0)
		f.equal(fmt.Sprint("Offerable, at most ", limit), fmt.Sprint(got), want)
	}
}

// testOfferFit holds an engine's idea of what fits against the one definition.
func testOfferFit(f *fixture) {
	round := 0
	rapid.Check(f, func(t *rapid.T) {
		round++
		scope := f.store.Org(api.OrgID(fmt.Sprint("org", round)))
		ids := rapid.SliceOfN(rapid.SampledFrom([]api.AgentID{"a", "b", "it's"}), 0, 2)
		tags := rapid.SliceOfN(rapid.SampledFrom([]string{"x", "y", `"`}), 0, 2)
		host := rapid.SampledFrom([]string{"", "h", "i"})
		plugin := rapid.SampledFrom([]api.PluginID{"p", "q"})
		level := rapid.SampledFrom([]api.SandboxLevel{"", api.SandboxNone, api.SandboxLimited, api.SandboxConfined, api.SandboxFull})
		agent := store.Agent{ID: "a", Type: rapid.SampledFrom([]api.AgentType{api.Action, api.Action, api.Sensor}).Draw(t, "type"), Hostname: host.Draw(t, "host"), Tags: tags.Draw(t, "tags")}
		if rapid.Bool().Draw(t, "told") {
			agent.Plugins = []api.PluginInfo{}
			for _, p := range rapid.SliceOfNDistinct(plugin, 0, 2, rapid.ID[api.PluginID]).Draw(t, "plugins") {
				agent.Plugins = append(agent.Plugins, api.PluginInfo{ID: p, Version: rapid.SampledFrom([]string{"", "1.2.0", "2.0.0"}).Draw(t, "version"), State: rapid.SampledFrom([]string{"", "ready", "refused", "disabled", "loading"}).Draw(t, "state")})
			}
		}
		if rapid.Bool().Draw(t, "told of its sandbox") {
			agent.Sandbox = &api.Posture{Level: level.Draw(t, "level")}
		}
		var want, got []api.InstructionID
		err := scope.Update(f.Context(), func(tx store.Tx) error {
			for n := range 4 {
				i := offered(fmt.Sprint("I", n), func(s *instruction.Spec) {
					s.Plugin, s.Target = plugin.Draw(t, "plugin"), instruction.Target{Agents: ids.Draw(t, "agents"), Host: host.Draw(t, "target host"), Tags: tags.Draw(t, "target tags")}
					s.Target.Sandbox = level.Draw(t, "target level")
					s.Target.Version = rapid.SampledFrom([]string{"", "^1", ">=2"}).Draw(t, "target version")
				})
				if agent.CanTake(i.Plugin, i.Target) {
					want = append(want, i.ID)
				}
				if err := tx.PutInstruction(i); err != nil {
					return err
				}
			}
			var err error
			got, err = tx.Offerable(agent, start, 10)
			return err
		})
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("Offerable(%+v) = %v, %v; want %v", agent, got, err, want)
		}
	})
}

func testDue(f *fixture) {
	waiting := offered("I1", func(s *instruction.Spec) { s.ExpiresAt = after(30) })
	lent, _, _ := instruction.Step(offered("I2", func(*instruction.Spec) {}), instruction.Offer{Agent: "a", Now: start, TTL: after(10).Sub(start)})
	over := sampleInstruction("x")
	f.put(waiting, lent, over)
	due := func(at int, limit int) string {
		f.Helper()
		got := read(f, org, func(r store.Reader) ([]instruction.Instruction, error) { return r.Due(after(at), limit) })
		return fmt.Sprint(keys(got, func(i instruction.Instruction) api.InstructionID { return i.ID }))
	}
	f.equal("due before anything is", due(9, 10), "[]")
	f.equal("due at the end of the lease", due(10, 10), "[I2]")
	f.equal("due at the end of both", due(30, 10), "[I2 I1]")
	f.equal("the longest overdue", due(99, 1), "[I2]")
	open := read(f, org, func(r store.Reader) ([]instruction.Instruction, error) { return r.Open() })
	f.equal("open", fmt.Sprint(keys(open, func(i instruction.Instruction) api.InstructionID { return i.ID })), "[I2 I1]")
	next, some, err := ask2(f, org, store.Reader.NextDue)
	if err != nil || !some || !next.Equal(after(10)) {
		f.Errorf("NextDue = %v, %v, %v; want %v", next, some, err, after(10))
	}
	for _, i := range []instruction.Instruction{waiting, lent} {
		i, _, _ = instruction.Step(i, instruction.Cancel{Now: start})
		f.put(i)
	}
	if next, some, err := ask2(f, org, store.Reader.NextDue); err != nil || some {
		f.Errorf("NextDue when all have ended = %v, %v, %v", next, some, err)
	}
}

func testWaits(f *fixture) {
	wait := func(run api.RunID, step string) store.Wait { return store.Wait{Run: run, Step: step, Pattern: "a.*"} }
	f.update(func(tx store.Tx) error {
		return errors.Join(tx.PutWait(wait("R2", "a")), tx.PutWait(wait("R1", "b")), tx.PutWait(wait("R1", "a")))
	})
	for range 2 { // dropping again changes nothing
		f.update(func(tx store.Tx) error { return tx.DropWait(wait("R1", "b")) })
	}
	got := read(f, org, store.Reader.Waits)
	f.equal("waits", fmt.Sprint(keys(got, func(w store.Wait) string { return string(w.Run) + w.Step })), "[R1a R2a]")
}

func testApprovals(f *fixture) {
	approval := func(run api.RunID, step string) store.Approval {
		a := sampleApproval("x")
		a.Run, a.Step = run, step
		return a
	}
	f.update(func(tx store.Tx) error {
		return errors.Join(tx.PutApproval(approval("R2", "a")), tx.PutApproval(approval("R1", "b")), tx.PutApproval(approval("R1", "a")))
	})
	for range 2 { // dropping again changes nothing
		f.update(func(tx store.Tx) error { return tx.DropApproval("R1", "b") })
	}
	got := read(f, org, store.Reader.Approvals)
	f.equal("approvals", fmt.Sprint(keys(got, func(a store.Approval) string { return string(a.Run) + a.Step })), "[R1a R2a]")
}

func testWindows(f *fixture) {
	window := func(key string, at int) store.Window {
		return store.Window{Workflow: "w", Key: key, Closes: after(at), Doc: quoted("x")}
	}
	f.update(func(tx store.Tx) error {
		return errors.Join(tx.PutWindow(window("a", 20)), tx.PutWindow(window("b", 10)), tx.PutWindow(window("a", 30)))
	})
	due := func(at, limit int) string {
		f.Helper()
		got := read(f, org, func(r store.Reader) ([]store.Window, error) { return r.DueWindows(after(at), limit) })
		return fmt.Sprint(keys(got, func(w store.Window) string { return w.Key }))
	}
	f.equal("over before its time", due(9, 10), "[]")
	f.equal("over", due(10, 10), "[b]")
	f.equal("over at the end", due(99, 10), "[b a]")
	f.equal("the longest overdue", due(99, 1), "[b]")
	open := func(workflow string, limit int) int {
		f.Helper()
		return read(f, org, func(r store.Reader) (int, error) { return r.WindowsOpen(workflow, limit) })
	}
	f.equal("open", []int{open("w", 10), open("w", 1), open("v", 10)}, []int{2, 1, 0})
	for range 2 { // dropping again changes nothing
		f.update(func(tx store.Tx) error { return tx.DropWindow(window("b", 0)) })
	}
	if next, some, err := ask2(f, org, store.Reader.NextWindow); err != nil || !some || !next.Equal(after(30)) {
		f.Errorf("NextWindow = %v, %v, %v; want %v", next, some, err, after(30))
	}
}

func testAlarms(f *fixture) {
	alarm := func(step string, try, at int) store.Alarm {
		return store.Alarm{Run: "R", Step: step, Try: try, At: after(at)}
	}
	f.update(func(tx store.Tx) error {
		return errors.Join(tx.PutAlarm(alarm("a", 1, 20)), tx.PutAlarm(alarm("a", 2, 10)), tx.PutAlarm(alarm("b", 1, 30)), tx.PutAlarm(alarm("b", 1, 15)))
	})
	due := func(at, limit int) string {
		f.Helper()
		got := read(f, org, func(r store.Reader) ([]store.Alarm, error) { return r.DueAlarms(after(at), limit) })
		return fmt.Sprint(keys(got, func(a store.Alarm) string { return fmt.Sprint(a.Step, a.Try) }))
	}
	f.equal("due before anything is", due(9, 10), "[]")
	f.equal("due at its time", due(10, 10), "[a2]")
	f.equal("due at the end", due(99, 10), "[a2 b1 a1]")
	f.equal("the longest overdue", due(99, 1), "[a2]")
	for range 2 { // dropping again changes nothing
		f.update(func(tx store.Tx) error { return tx.DropAlarm(alarm("a", 2, 0)) })
	}
	if next, some, err := ask2(f, org, store.Reader.NextAlarm); err != nil || !some || !next.Equal(after(15)) {
		f.Errorf("NextAlarm = %v, %v, %v; want %v", next, some, err, after(15))
	}
	f.update(func(tx store.Tx) error {
		return errors.Join(tx.DropAlarm(alarm("a", 1, 0)), tx.DropAlarm(alarm("b", 1, 0)))
	})
	if next, some, err := ask2(f, org, store.Reader.NextAlarm); err != nil || some {
		f.Errorf("NextAlarm of none = %v, %v, %v", next, some, err)
	}
}
