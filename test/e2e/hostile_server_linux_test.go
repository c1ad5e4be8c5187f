package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/api/apitest"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

// hostile answers agents where the orchestrator was. The nth answer to a call of an agent is
// drawn from the seed, the agent, the call and n, so that it is the same each time.
type hostile struct {
	w      *world
	seed   uint64
	server *httptest.Server
	lure   *httptest.Server // whom nobody may follow a redirect to
	other  [2]string        // certificate and CA of somebody else, as PEM
	conns  atomic.Uint64

	mu      sync.Mutex // guards the fields below
	calls   map[string]uint64
	answers map[api.AgentID]uint64 // that were hostile
	kinds   map[string]uint64      // the same, by kind
}

// newHostile listens where the server of w did, which has ended, with a certificate that all
// agents trust.
func newHostile(w *world, seed uint64) *hostile {
	w.t.Helper()
	h := &hostile{w: w, seed: seed, calls: map[string]uint64{}, answers: map[api.AgentID]uint64{}, kinds: map[string]uint64{}}
	authority := pkitest.New(w.t, "hostile")
	other := authority.Issue(pkitest.Agent("spiffe://stavily/org/default/action/web-01"))
	h.other = [2]string{string(pkitest.PEM(other.Leaf)), string(pkitest.PEM(authority.Cert))}
	h.server = httptest.NewUnstartedServer(h)
	h.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.server.TLS = &tls.Config{
		Certificates: []tls.Certificate{authority.Issue(pkitest.Server())}, NextProtos: []string{"h2", "http/1.1"}, GetConfigForClient: h.protocol,
		ClientAuth: tls.RequireAndVerifyClientCert,
	}
	for _, id := range slices.Concat(slices.Collect(maps.Values(hostileAgents))...) {
		h.server.TLS.ClientCAs = w.trust(id, authority)
	}
	w.must(h.server.Listener.Close())
	var err error
	h.server.Listener, err = net.Listen("tcp", strings.TrimPrefix(w.URL(), "https://"))
	w.must(err)
	h.server.StartTLS()
	h.lure = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		w.t.Errorf("a redirect was followed: %s %s", r.Method, r.URL)
	}))
	w.t.Cleanup(h.close)
	return h
}

// trust has an agent trust one more authority, and returns those that it trusted before.
func (w *world) trust(id api.AgentID, one *pkitest.Authority) *x509.CertPool {
	w.t.Helper()
	bundle := filepath.Join(w.Agent(id).Base, "certificates", "ca.crt")
	text, err := os.ReadFile(bundle)
	w.must(err)
	w.must(os.WriteFile(bundle, append(slices.Clip(text), pkitest.PEM(one.Cert)...), 0o600))
	before := x509.NewCertPool()
	before.AppendCertsFromPEM(text)
	return before
}

// protocol has every fourth connection speak HTTP/1.1.
func (h *hostile) protocol(*tls.ClientHelloInfo) (*tls.Config, error) {
	if h.conns.Add(1)%4 != 0 {
		return nil, nil
	}
	old := h.server.TLS.Clone()
	old.NextProtos, old.GetConfigForClient = []string{"http/1.1"}, nil
	return old, nil
}

func (h *hostile) close() {
	h.server.CloseClientConnections()
	h.server.Close()
	h.lure.Close()
}

// told is how many hostile answers the agents of a kind have had, where each has had as many as
// the one with fewest.
func (h *hostile) told(kind api.AgentType) uint64 {
	var all []uint64
	for _, id := range hostileAgents[kind] {
		all = append(all, h.count(id))
	}
	return slices.Min(all) * uint64(len(all))
}

func (h *hostile) count(id api.AgentID) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.answers[id]
}

// String tells how many answers of each kind there were.
func (h *hostile) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(h.kinds)) {
		parts = append(parts, fmt.Sprintf("%d %s", h.kinds[kind], kind))
	}
	return strings.Join(parts, ", ")
}

// exchange is one call and what is drawn of its answer.
type exchange struct {
	*hostile
	to    http.ResponseWriter
	from  *http.Request
	dice  apitest.Spoiler
	n     uint64 // of this call of this agent
	agent api.AgentID
	call  string // method, and what comes after the agent in the path, without ids
	id    string // of the instruction
	body  []byte // nil where it is larger than any is
}

func (h *hostile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := append(strings.Split(strings.TrimPrefix(r.URL.Path, "/agents/v1/"), "/"), "", "", "")
	x := exchange{hostile: h, to: w, from: r, agent: api.AgentID(path[0]), call: strings.TrimSpace(r.Method + " " + path[1] + " " + path[3]), id: path[2]}
	key := string(x.agent) + " " + x.call
	h.mu.Lock()
	h.calls[key]++
	x.n = h.calls[key]
	h.mu.Unlock()
	x.body, _ = limits.ReadAll(r.Body, api.MaxBatchBytes) // to its end: else nothing tells that the agent is gone
	sum := fnv.New64a()
	fmt.Fprintf(sum, "%s %d", key, x.n)
	x.dice = apitest.Spoiler{Rand: rand.New(rand.NewPCG(h.seed, sum.Sum64()))}
	said, asItIs, lie := x.answer()
	if !asItIs {
		x.attack(said)
		return
	}
	if lie != "" {
		x.note(lie)
	}
	x.send(http.StatusOK, encoded(said))
}

// note counts a hostile answer.
func (x *exchange) note(kind string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.answers[x.agent]++
	x.kinds[kind]++
}

func (x *exchange) send(status int, body []byte) {
	if x.to.Header().Get("Content-Type") == "" {
		x.to.Header().Set("Content-Type", "application/json")
	}
	x.to.WriteHeader(status)
	_, _ = x.to.Write(body) // the agent may be gone
}

func encoded(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // a mistake in this file
	}
	return b
}

// answer is what an orchestrator could say. It is sent as it is where asItIs, then as a lie if
// that has a name: what is spoiled besides might make it true.
func (x *exchange) answer() (said any, asItIs bool, lie string) {
	now := api.At(time.Now())
	switch x.call {
	case "POST heartbeat":
		answer := api.HeartbeatResponse{ServerTime: now, ConfigVersion: "1", RenewCertificate: x.dice.IntN(4) == 0}
		if x.dice.IntN(4) == 0 {
			answer.CAPEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
		}
		return answer, false, ""
	case "POST certificate":
		return api.EnrollResponse{AgentID: x.agent, OrganizationID: "default", CertificatePEM: x.other[0], CAPEM: x.other[1]}, x.dice.IntN(2) == 0, "certificate of another key"
	case "GET instructions":
		return x.offer()
	case "PUT instructions":
		return x.claimed()
	case "POST instructions result":
		return api.ResultResponse{Acknowledged: true}, false, ""
	case "POST events":
		return x.settled(), x.dice.IntN(2) == 0, "" // else the agent would soon ask once in five minutes
	case "POST logs":
		return api.LogBatchResponse{}, false, ""
	case "GET plugins":
		const digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
		version := fmt.Sprint("hostile-", x.n)
		return api.Assignments{Version: version, MonitorsVersion: version, Plugins: []api.AssignedPlugin{
			{ID: "slow-action", Version: "9.9.9", Type: "action", Digest: digest, TreeDigest: digest, Size: 1000},
		}}, false, ""
	case "GET monitors":
		return api.Monitors{Monitors: []api.DesiredMonitor{{Name: "evil", Plugin: "nobody-has-it", Interval: 1, Workflow: "evil"}}}, false, ""
	}
	return map[string]string{"of": x.call}, false, ""
}

// settled acknowledges events: as many as came, fewer, or more than there are.
func (x *exchange) settled() (answer api.EventBatchResponse) {
	var batch api.EventBatch
	body, err := x.body, error(nil)
	if x.from.Header.Get("Content-Encoding") == "gzip" {
		body, err = limits.Gunzip(bytes.NewReader(body), api.MaxBatchBytes)
	}
	if err != nil || limits.UnmarshalJSON(body, &batch) != nil {
		return answer // the agent gave up
	}
	for _, e := range batch.Events {
		answer.AckedThrough = max(answer.AckedThrough, e.Seq)
		answer.Events = append(answer.Events, api.EventOutcome{Seq: e.Seq, ID: e.ID, Status: api.EventAccepted})
	}
	switch x.dice.IntN(10) {
	case 0:
		answer.AckedThrough = 0
	case 1:
		answer.AckedThrough += 1000
	}
	return answer
}

// Instructions by how an agent must be kept from starting them: one that is as it should be is
// never given the right to; for one that is not the claim is answered as if it were.
const (
	unclaimed = "unclaimed-"
	wrong     = "wrong-"
)

// wrongs are what is not as it should be of an instruction, and more of the answer.
var wrongs = []struct {
	name  string
	spoil func(*api.PollResponse, *api.Instruction)
}{
	{"instruction of another agent", func(_ *api.PollResponse, i *api.Instruction) { i.AgentID = "web-01" }},
	{"instruction that there is none", func(p *api.PollResponse, _ *api.Instruction) { p.Status = api.StatusNoInstructions }},
	{"instruction of a bad id", func(_ *api.PollResponse, i *api.Instruction) { i.ID = wrong + "/../x" }},
	{"instruction of a plugin that is not there", func(_ *api.PollResponse, i *api.Instruction) { i.PluginID = "sh" }},
	{"instruction of a kind that is not known", func(_ *api.PollResponse, i *api.Instruction) { i.InstructionType = "shell" }},
	{"instruction of another digest", func(_ *api.PollResponse, i *api.Instruction) {
		i.PluginConfiguration.Digest = "sha256:" + strings.Repeat("0", 64)
	}},
	{"instruction of another version", func(_ *api.PollResponse, i *api.Instruction) { i.PluginConfiguration.Version = ">= 9.9.9" }},
	{"instruction of a secret that does not come", func(_ *api.PollResponse, i *api.Instruction) { i.Secrets = []string{"key"} }},
	{"instruction to install", func(_ *api.PollResponse, i *api.Instruction) {
		i.InstructionType, i.PluginConfiguration = api.TypeInstall, api.PluginConfiguration{PluginURL: "https://evil.example.com/x.git", CommitHash: strings.Repeat("0", 40)}
	}},
	{"more instructions than there is room for", func(p *api.PollResponse, i *api.Instruction) {
		p.Instructions = slices.Repeat([]api.Instruction{*i}, 60)
		for n := range p.Instructions {
			p.Instructions[n].ID = api.InstructionID(fmt.Sprint(i.ID, "-", n))
		}
	}},
}

func (x *exchange) offer() (said any, asItIs bool, lie string) {
	answer := api.PollResponse{Status: api.StatusNoInstructions}
	if x.dice.IntN(3) == 0 {
		return answer, false, ""
	}
	i := api.Instruction{
		ID: api.InstructionID(fmt.Sprint(unclaimed, x.n)), AgentID: x.agent, PluginID: "slow-action", InstructionType: api.TypeExecute,
		InputData: map[string]json.RawMessage{"seconds": json.RawMessage("0")}, TimeoutSeconds: 10, Priority: api.PriorityNormal,
		Attempt: 1, Lease: "lease", LeaseSeconds: 60, ExpiresInSeconds: 1,
	}
	answer.Status, answer.Instruction = api.StatusDelivered, &i
	if x.dice.IntN(2) == 0 {
		return answer, false, ""
	}
	i.ID = api.InstructionID(fmt.Sprint(wrong, x.n))
	what := wrongs[x.dice.IntN(len(wrongs))]
	what.spoil(&answer, &i)
	return answer, true, what.name
}

// claimed answers a claim: see wrong and unclaimed.
func (x *exchange) claimed() (said any, asItIs bool, lie string) {
	answer := api.ProgressResponse{Success: true, InstructionID: api.InstructionID(x.id), LeaseSeconds: 60}
	if strings.HasPrefix(x.id, wrong) {
		return answer, true, ""
	}
	if x.dice.IntN(2) == 0 {
		answer.Success = false
	} else {
		answer.InstructionID = wrong
	}
	return answer, x.dice.IntN(2) == 0, "right to start something else, or nothing"
}
