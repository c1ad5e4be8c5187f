package agent

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"time"

	"github.com/stavily/agents/shared/internal/execution"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
)

// startedAt is when this process began.
var startedAt = time.Now()

// Status is all that an agent knows of itself, as GET /status gives it to callers on its
// host and `status` prints it.
type Status struct {
	AgentID      api.AgentID         `json:"agent_id"`
	Type         api.AgentType       `json:"type"`
	Organization api.OrgID           `json:"organization_id,omitempty"`
	Version      string              `json:"version"`
	Go           string              `json:"go"`
	Platform     string              `json:"platform"`
	BaseDir      string              `json:"base_dir"`
	Config       string              `json:"config,omitempty"` // the file, where there is one
	StartedAt    api.Time            `json:"started_at"`
	Health       api.Health          `json:"health"`
	Ready        bool                `json:"ready"`
	Against      []string            `json:"against,omitempty"` // the conditions that keep it from being ready
	Orchestrator StatusOrchestrator  `json:"orchestrator"`
	Certificate  *StatusCertificate  `json:"certificate,omitempty"`
	Loops        []Loop              `json:"loops"`
	Sandbox      *api.Posture        `json:"sandbox,omitempty"`
	Spool        *StatusSpool        `json:"spool,omitempty"`   // of a sensor agent
	Results      *int                `json:"results,omitempty"` // of an action agent: those that wait for the orchestrator
	Reported     *StatusResults      `json:"results_account,omitempty"`
	Monitors     []api.MonitorInfo   `json:"monitors,omitempty"`
	Plugins      []api.PluginInfo    `json:"plugins"`
	Assigned     []api.AssignedState `json:"assigned,omitempty"`
}

// StatusOrchestrator is how it is with the orchestrator.
type StatusOrchestrator struct {
	URL        string   `json:"url"`
	Contact    string   `json:"contact"` // connected | refused | unreachable | none yet
	AnsweredAt api.Time `json:"answered_at"`
}

// StatusCertificate is the certificate in use.
type StatusCertificate struct {
	NotAfter api.Time `json:"not_after"`
	Serial   string   `json:"serial"`
}

// StatusSpool is what waits to be delivered.
type StatusSpool struct {
	Events uint64   `json:"events"`
	Bytes  int64    `json:"bytes"`
	Oldest api.Time `json:"oldest"`
	// Account says what became of all events since the spool was made.
	Account     SpoolAccount `json:"account"`
	Unaccounted int64        `json:"unaccounted"` // 0, or the agent has a fault
}

// StatusResults say what became of results since this process began.
type StatusResults struct {
	execution.Account
	Unaccounted int64 `json:"unaccounted"` // 0, or the agent has a fault
}

// Status looks at everything now. Parts that are not there yet are left out.
func (rt *Runtime) Status() Status {
	c := rt.Config()
	ready, against := rt.Health.Ready()
	s := Status{
		AgentID: c.Agent.ID, Type: rt.Role.Type, Organization: rt.organization(), Version: api.Version,
		Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, BaseDir: c.Agent.BaseDir, Config: rt.file,
		StartedAt: api.At(startedAt), Health: rt.Health.Snapshot(), Ready: ready,
		Orchestrator: StatusOrchestrator{URL: c.API.BaseURL, Contact: contact(rt.contact.Load()).String()},
		Loops:        rt.Health.Loops(), Sandbox: rt.Health.sandbox(), Plugins: []api.PluginInfo{},
	}
	for _, a := range against {
		s.Against = append(s.Against, a.Name)
	}
	if at := rt.heard.Load(); at != 0 {
		s.Orchestrator.AnsweredAt = api.At(time.Unix(0, at))
	}
	if !rt.working.Load() {
		return s
	}
	leaf := rt.identity.Leaf()
	s.Certificate = &StatusCertificate{api.At(leaf.NotAfter), leaf.SerialNumber.Text(16)}
	s.Plugins, s.Monitors, s.Assigned = rt.infos(), rt.monitorInfos(), rt.assignedStates()
	rt.waiting(&s)
	return s
}

// waiting adds what waits for the orchestrator.
func (rt *Runtime) waiting(s *Status) {
	if spool := rt.spool.Load(); spool != nil {
		if stats, err := spool.Stats(); err == nil { // one that cannot be read has a condition
			s.Spool = &StatusSpool{Events: stats.Depth, Bytes: stats.Bytes, Oldest: api.At(stats.Oldest), Account: stats.Account, Unaccounted: stats.Account.Unaccounted()}
		}
	}
	if journal := rt.journal.Load(); journal != nil {
		account := journal.Account()
		n := int(account.Waiting)
		s.Results, s.Reported = &n, &StatusResults{account, account.Unaccounted()}
	}
}

func (c contact) String() string {
	switch c {
	case answered:
		return "connected"
	case refused:
		return "refused"
	case unreachable:
		return "unreachable"
	}
	return "none yet"
}

// conditionSilent keeps an agent from being ready where health.ready_contact asks for it.
const conditionSilent = "orchestrator_silent"

// silence tells whether the orchestrator has not answered for too long. An agent that was
// never answered counts from its start.
func (rt *Runtime) silence() (api.Condition, bool) {
	limit := rt.Config().Health.ReadyContact.Duration()
	last := startedAt
	if at := rt.heard.Load(); at != 0 {
		last = time.Unix(0, at)
	}
	if limit == 0 || time.Since(last) <= limit {
		return api.Condition{}, false
	}
	return api.Condition{
		Name: conditionSilent, Status: string(Degraded), Since: api.At(last.Add(limit)),
		Message: fmt.Sprintf("the orchestrator has not answered for %v", time.Since(last).Truncate(time.Second)),
		Remedy:  "see orchestrator_unreachable or orchestrator_refuses; health.ready_contact says how long is too long",
	}, true
}

// healthHandler serves the probes and, to callers on this host, the status.
func (rt *Runtime) healthHandler(h config.Health) http.Handler {
	mux := healthHandler(rt.Health, h.Path, h.ReadyPath)
	mux.HandleFunc("GET "+h.StatusPath, func(w http.ResponseWriter, r *http.Request) {
		if !isLocal(r.RemoteAddr) {
			http.Error(w, "the status is for callers on this host", http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		// Who hung up needs no answer.
		_ = json.NewEncoder(w).Encode(rt.Status())
	})
	return mux
}
