package web_test

import (
	"errors"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/store/sqlite"
	"github.com/stavily/agents/shared/pkg/api"
)

// The page of an agent shows what its work came to, the page of the run what each step took
// and what the workflow would make of the same event now.
func TestUseOfResources(t *testing.T) {
	s, admin := dashboard(t)
	act := s.Enrol(api.Action, "act-2", "host-2")
	if page := admin.get("/agents/act-2", http.StatusOK); strings.Contains(page, "processor time") {
		t.Errorf("an agent that did nothing has used something:\n%s", page)
	}
	s.Apply("name: works\ntriggers: [{manual: {}}]\nactions: [{id: work, plugin: worker, agents: {ids: [act-2]}}]\n")
	for _, status := range []api.InstructionStatus{api.Completed, api.Failed} {
		s.Do(http.MethodPost, "/api/v1/workflows/works/run", operatorapi.StartRequest{By: "alice"}, nil)
		got, err := act.Poll(t.Context(), 10*time.Second, 1)
		if err != nil || got.Instruction == nil {
			t.Fatalf("polled %+v, %v", got, err)
		}
		i := got.Instruction
		if _, err := act.Progress(t.Context(), i.ID, api.Progress{Status: api.Executing, Attempt: i.Attempt, Lease: i.Lease, BootID: "b"}); err != nil {
			t.Fatal(err)
		}
		result := api.Result{Status: status, Attempt: i.Attempt, Lease: i.Lease, ResourceUsage: &api.ResourceUsage{CPUSeconds: 1.25, MaxRSSBytes: 34_000_000, StoredBytes: 5_600_000}}
		for range 2 { // its answer was lost: it counts once
			if _, err := act.Result(t.Context(), i.ID, result); err != nil {
				t.Fatal(err)
			}
		}
	}
	page := admin.get("/agents/act-2", http.StatusOK)
	for _, want := range []string{"2 instructions in the last 24 hours, of which 1 did not complete", "2.5 s of processor time", "34.0 MB at most", "Serial"} {
		if !strings.Contains(page, want) {
			t.Errorf("the agent's page does not say %q:\n%s", want, page)
		}
	}
	run := s.Runs()[0]
	page = admin.get("/runs/"+string(run.ID), http.StatusOK)
	for _, want := range []string{"1.25 s", "34.0 MB", "5.6 MB", "/events/" + string(run.EventID) + "?replay=works"} {
		if !strings.Contains(page, want) {
			t.Errorf("the run's page does not say %q:\n%s", want, page)
		}
	}
	s.Do(http.MethodDelete, "/api/v1/workflows/works", nil, nil)
	if page := admin.get("/runs/"+string(run.ID), http.StatusOK); strings.Contains(page, "?replay=") {
		t.Error("a run of a workflow that is deleted leads to what it would do now")
	}
}

// An agent that has lost much is shown with what it told last, and that there is more.
func TestManyGaps(t *testing.T) {
	s, admin := dashboard(t)
	sensor := s.Enrol(api.Sensor, "sensor-2", "host-2")
	tell := func(from, to uint64) {
		t.Helper()
		b := api.EventBatch{Stream: api.Stream{Epoch: "e"}}
		for n := from; n <= to; n++ {
			b.Gaps = append(b.Gaps, api.Gap{From: n, To: n, Count: 1, Reason: []string{"corrupt", "spool_full"}[n%2]})
		}
		if _, err := sensor.Events(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	const before = "More were told before these"
	for _, c := range []struct {
		from, to uint64
		shown    int
		oldest   uint64
		more     bool
	}{{1, store.GapsShown, store.GapsShown, 1, false}, {store.GapsShown + 1, store.GapsShown + 150, store.GapsShown, 151, true}} {
		tell(c.from, c.to)
		var a operatorapi.Agent
		s.Do(http.MethodGet, "/api/v1/agents/sensor-2", nil, &a)
		if len(a.Gaps) != c.shown || a.MoreGaps != c.more || a.Gaps[0].From != c.to || a.Gaps[c.shown-1].From != c.oldest {
			t.Errorf("after %d gaps the API has %d, from %d to %d, and more: %t", c.to, len(a.Gaps), a.Gaps[0].From, a.Gaps[len(a.Gaps)-1].From, a.MoreGaps)
		}
		page := admin.get("/agents/sensor-2", http.StatusOK)
		if rows := strings.Count(page, "<td>corrupt</td>") + strings.Count(page, "<td>spool_full</td>"); rows != c.shown || strings.Contains(page, before) != c.more {
			t.Errorf("after %d gaps the page has %d and says that there are more: %t", c.to, rows, strings.Contains(page, before))
		}
	}
}

// approvalPattern is the form that lets act-1 in, with the certificate that it is about.
var approvalPattern = regexp.MustCompile(`<form method="post" action="/agents/act-1/approve"><input type="hidden" name="serial" value="([^"]*)">`)

// An admin lets an agent in that is in quarantine, by the form of its page; nobody else does,
// no other site by the admin's browser, and nobody with another certificate than the page shows.
func TestApprovalOfAnAgent(t *testing.T) {
	s := servertest.Start(t)
	agent := s.Enrol(api.Action, "act-1", "host-1")
	s.Stop()
	if err := quarantine(t, s, agent.ID); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	const path = "/agents/act-1"
	form := url.Values{"serial": {agent.Cert.Leaf.SerialNumber.Text(16)}}
	waits := func(after string) {
		t.Helper()
		if _, err := agent.Heartbeat(t.Context(), api.Heartbeat{Status: "online"}); api.CodeOf(err) != api.CodeQuarantined {
			t.Errorf("the agent, after %s: %v, want %s", after, err, api.CodeQuarantined)
		}
		for _, row := range s.Audit() {
			if row.Action == "agent.approve" {
				t.Errorf("on record after %s: %+v", after, row)
			}
		}
	}
	for _, role := range []account.Role{account.Viewer, account.Operator} {
		p := invited(t, s, role)
		if page := p.get(path, http.StatusOK); !strings.Contains(page, "In quarantine") || approvalPattern.MatchString(page) {
			t.Errorf("the page for role %s does not tell of the quarantine, or has the form:\n%s", role, page)
		}
		p.post(path+"/approve", form, http.StatusForbidden)
		waits("approval in role " + string(role))
	}
	admin := invited(t, s, account.Admin)
	shown := approvalPattern.FindStringSubmatch(admin.get(path, http.StatusOK))
	if shown == nil || shown[1] != form.Get("serial") {
		t.Fatalf("the form is %q, want it with certificate %s", shown, form.Get("serial"))
	}
	if answer, _ := admin.do(http.MethodPost, path+"/approve", "text/html", strings.NewReader(form.Encode()), "Sec-Fetch-Site", "cross-site"); answer.StatusCode != http.StatusForbidden {
		t.Errorf("the form on another site: %s", answer.Status)
	}
	waits("approval by another site")
	admin.post(path+"/approve", url.Values{"serial": {"4711"}}, http.StatusConflict)
	waits("approval of another certificate")

	if to := admin.post(path+"/approve", form, http.StatusSeeOther); to != path {
		t.Errorf("it leads to %s", to)
	}
	if _, err := agent.Heartbeat(t.Context(), api.Heartbeat{Status: "online"}); err != nil {
		t.Errorf("the agent that was let in: %v", err)
	}
	if page := admin.get(path, http.StatusOK); strings.Contains(page, "In quarantine") {
		t.Errorf("the page of an agent that was let in:\n%s", page)
	}
	rows := s.Audit()
	if last := rows[len(rows)-1]; last.Action != "agent.approve" || last.Actor != "user admin" || last.Object != "act-1" || !strings.Contains(last.Detail, form.Get("serial")) {
		t.Errorf("on record is %+v, want who let it in with which certificate", last)
	}
}

// quarantine puts an agent into quarantine in the store of a server that is stopped, as a late
// renewal does.
func quarantine(t *testing.T, s *servertest.Server, id api.AgentID) (err error) {
	st, err := sqlite.Open(t.Context(), filepath.Join(s.DataDir, server.DatabaseName))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	return st.Org("default").Update(t.Context(), func(tx store.Tx) error {
		a, err := tx.Agent(id)
		if err != nil {
			return err
		}
		a.State, a.QuarantinedAt, a.QuarantineReason = store.Quarantined, time.Now(), "it renewed a certificate that had ended"
		return tx.PutAgent(a)
	})
}
