package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

const quickWorkflow = `name: quick
triggers:
  - event: count.tick
actions:
  - {id: work, plugin: slow-action, with: {seconds: 0.02}}
`

const longWorkflow = `name: long
triggers:
  - event: count.tick
when: event.data.n % 20 == 0
actions:
  - {id: work, plugin: slow-action, with: {seconds: 3}}
`

// Certificates that live for seconds, under load: they are renewed again and again
// while events and instructions flow, and nothing fails or is lost. The server's own
// certificate changes as often, and the CA is rotated. `make cert-storm` does it with 60 seconds for ten minutes.
func TestCertificateStorm(t *testing.T) {
	life, length := 8*time.Second, 16*time.Second
	if text, set := os.LookupEnv("STAVILY_STORM_MINUTES"); set {
		minutes, err := strconv.Atoi(text)
		if err != nil || minutes < 1 {
			t.Fatalf("STAVILY_STORM_MINUTES=%q: must be a positive number", text)
		}
		life, length = time.Minute, time.Duration(minutes)*time.Minute
	}
	w := newWorldFor(t, length, []string{"--certificate-lifetime", life.String()}, "STAVILY_API_RATE_LIMIT_REQUESTS_PER_SECOND=100") // which is not what this is about
	w.apply(quickWorkflow)
	w.apply(longWorkflow)
	w.agent("storm-a", api.Action, []string{"slow-action"}, nil)
	w.start("storm-a") // each before the certificate that it was enrolled with ends
	w.agent("storm-s", api.Sensor, []string{"counting-sensor"}, map[string]string{"count": "plugin: counting-sensor\nconfig: {pause: 0.3}\n"})
	w.start("storm-s")

	s := storm{w: w, runs: map[string]bool{}, events: map[string]bool{}}
	for end := time.Now().Add(length); time.Now().Before(end); time.Sleep(min(10*time.Second, length/6)) {
		s.look()
		s.rotate()
	}
	w.must(os.Remove(w.Agent("storm-s").Base + "/config/plugins/count.yaml")) // no new events
	w.await("every accepted event recorded and its runs completed", func() error {
		s.look()
		return s.settled(effects(t, w.home("storm-s", "counting-sensor", "accepted")))
	})

	least := int(length/life) - 1 // of the two thirds of a life that a certificate is used, with room
	for _, id := range []api.AgentID{"storm-s", "storm-a"} {
		renewed, failed := w.metric(id, `certificate_renewals_total{outcome="renewed"}`), w.metric(id, `certificate_renewals_total{outcome="failed"}`)
		if renewed < least || failed > 0 {
			t.Errorf("%s renewed %d times and failed %d times, want at least %d and none", id, renewed, failed, least)
		}
		t.Logf("%s: %d renewals", id, renewed)
	}
	for _, row := range cli[[]struct{ Action, Detail string }](w, "audit", "list", "--limit", "500") {
		if row.Action == "refused" {
			t.Errorf("an alarm: %+v", row)
		}
	}
	if s.steps < 4 {
		t.Errorf("the CA took %d steps of a rotation, want all four", s.steps)
	}
	t.Logf("%d events, %d runs, %d steps of rotations of the CA", len(s.events), len(s.runs), s.steps)
}

// storm is what was seen of events and runs; lists of them have an end.
type storm struct {
	w      *world
	runs   map[string]bool // by id, whether completed
	events map[string]bool // by id, whether it started a run
	steps  int             // of rotations of the CA
}

// rotate takes the next step of a rotation of the CA, unless an agent has not followed the
// one before.
func (s *storm) rotate() {
	s.w.t.Helper()
	_, err := s.w.CLI(s.w.ctx, "ca", "rotate")
	switch {
	case err == nil:
		s.steps++
	case !strings.Contains(err.Error(), "would cut agents off"):
		s.w.t.Fatal(err)
	}
}

func (s *storm) look() {
	s.w.t.Helper()
	for _, e := range s.w.events() {
		s.events[string(e.ID)] = s.events[string(e.ID)]
	}
	for _, r := range s.w.runs() {
		s.runs[r.ID], s.events[r.EventID] = r.Status == "completed", true
		if ended(r.Status) && r.Status != "completed" {
			s.w.t.Fatalf("run %s %s: %+v", r.ID, r.Status, s.w.show(r.ID).Steps)
		}
	}
}

func (s *storm) settled(accepted []string) error {
	if len(accepted) == 0 {
		return errors.New("no event was accepted")
	}
	for _, id := range accepted {
		if !s.events[id] {
			return fmt.Errorf("event %s of %d is not recorded, or started nothing", id, len(accepted))
		}
	}
	for id, completed := range s.runs {
		if !completed { // it may have left the list
			r := s.w.show(id)
			s.runs[id] = r.Status == "completed"
			completed = s.runs[id]
		}
		if !completed {
			return fmt.Errorf("run %s of %d is not completed", id, len(s.runs))
		}
	}
	return nil
}

// metric reads one sample of an agent; 0 when it has none.
func (w *world) metric(id api.AgentID, sample string) int {
	w.t.Helper()
	addr, err := w.Agent(id).Endpoint("metrics")
	w.must(err)
	client := http.Client{Timeout: patience}
	answer, err := client.Get("http://" + addr + "/metrics")
	w.must(err)
	defer answer.Body.Close()
	text, err := limits.ReadAll(answer.Body, 1<<20)
	w.must(err)
	found := regexp.MustCompile(`(?m)^stavily_agent_` + regexp.QuoteMeta(sample) + ` (\d+)`).FindSubmatch(text)
	if found == nil {
		return 0
	}
	n, err := strconv.Atoi(string(found[1]))
	w.must(err)
	return n
}

// An agent that was away until its certificate ended comes back by itself as far as quarantine: it
// collects and is not ready, says what it waits for, and when an admin has approved it what it
// collected is there, of before and meanwhile.
func TestAwayUntilItsCertificateEnded(t *testing.T) {
	w := newWorldFor(t, 0, []string{"--certificate-lifetime", "8s", "--renewal-grace", "10m"})
	w.agent("away", api.Sensor, []string{"counting-sensor"}, map[string]string{"count": "plugin: counting-sensor\nconfig: {pause: 0.3}\n"})
	accepted := func() []string { return effects(t, w.home("away", "counting-sensor", "accepted")) }
	w.start("away")
	w.await("an event", func() error {
		if len(accepted()) == 0 {
			return errors.New("none was accepted")
		}
		return nil
	})
	w.must(w.Process("away").Stop())
	text, err := os.ReadFile(w.Agent("away").Base + "/certificates/client.crt")
	w.must(err)
	certs, err := pki.ParseCertificates(text)
	w.must(err)
	time.Sleep(time.Until(certs[0].NotAfter) + time.Second)

	ready := make(chan error, 1)
	go func() { ready <- w.StartAgent(w.ctx, "away") }()
	status := func(want string) {
		w.await("away is "+want, func() error {
			if got := cli[struct{ Status string }](w, "agents", "show", "away").Status; got != want {
				return fmt.Errorf("it is %s", got)
			}
			return nil
		})
	}
	status("quarantined")
	before, recorded := len(accepted()), len(w.events())
	w.await("three more events, and why they wait", func() error {
		if n := len(accepted()); n < before+3 {
			return fmt.Errorf("%d events are accepted, and were %d", n, before)
		}
		return w.notReady("away", "agent_quarantined")
	})
	if n := len(w.events()); n != recorded {
		t.Errorf("%d events are recorded of an agent in quarantine", n-recorded)
	}
	_, err = w.CLI(w.ctx, "agents", "approve", "away")
	w.must(err)
	w.must(<-ready)
	status("online")
	w.await("every accepted event recorded", func() error {
		events := map[string]bool{}
		for _, e := range w.events() {
			events[string(e.ID)] = true
		}
		for _, id := range accepted() {
			if !events[id] {
				return fmt.Errorf("event %s is not recorded", id)
			}
		}
		return nil
	})
	for _, g := range cli[struct{ Gaps []any }](w, "agents", "show", "away").Gaps {
		t.Errorf("lost: %v", g)
	}
}

// notReady asks an agent whether it is, and wants a reason why not.
func (w *world) notReady(id api.AgentID, reason string) error {
	w.t.Helper()
	addr, err := w.Agent(id).Endpoint("health")
	if err != nil {
		return err
	}
	client := http.Client{Timeout: patience}
	answer, err := client.Get("http://" + addr + "/ready")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := limits.ReadAll(answer.Body, 1<<20)
	if err != nil || answer.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(text), reason) {
		return fmt.Errorf("/ready is %s: %s, %v; want 503 and %s", answer.Status, text, err, reason)
	}
	return nil
}

// Agents that come with tokens instead of certificates do the same work, and say that
// it is less.
func TestTokensInsteadOfCertificates(t *testing.T) {
	w := newWorldFor(t, 0, []string{"--allow-jwt"})
	w.apply(quickWorkflow)
	w.agent("jwt-s", api.Sensor, []string{"counting-sensor"}, map[string]string{"count": "plugin: counting-sensor\nconfig: {pause: 0.5}\n"})
	w.agent("jwt-a", api.Action, []string{"slow-action"}, nil)
	before := map[api.AgentID]string{}
	for _, id := range []api.AgentID{"jwt-s", "jwt-a"} {
		a := w.Agent(id)
		token := cli[struct{ Token string }](w, "tokens", "create", "--jwt", "--type", string(a.Type), "--agent-id", string(id), "--ttl", "20s").Token
		before[id] = token
		w.write(a.Base+"/certificates/token.jwt", token)
		w.must(os.Remove(a.Base + "/certificates/client.key"))
		w.must(os.Remove(a.Base + "/certificates/client.crt"))
		text, err := os.ReadFile(a.Base + "/config/agent.yaml")
		w.must(err)
		w.write(a.Base+"/config/agent.yaml", string(text)+"  auth: {type: jwt, refresh_threshold: 18s}\n")
	}
	w.start("jwt-a", "jwt-s")
	s := storm{w: w, runs: map[string]bool{}, events: map[string]bool{}}
	w.await("five runs completed", func() error {
		s.look()
		if len(s.runs) < 5 {
			return fmt.Errorf("%d runs", len(s.runs))
		}
		return nil
	})
	for id, token := range before {
		w.await(string(id)+" has refreshed its token", func() error {
			text, err := os.ReadFile(w.Agent(id).Base + "/certificates/token.jwt")
			if err != nil || string(text) == token {
				return fmt.Errorf("it has the first one: %v", err)
			}
			return nil
		})
		shown := cli[struct{ Health *api.Health }](w, "agents", "show", string(id))
		if shown.Health == nil || !slices.ContainsFunc(shown.Health.Conditions, func(c api.Condition) bool { return c.Name == "jwt_authentication" }) {
			t.Errorf("%s does not say that a token stands for its certificate: %+v", id, shown.Health)
		}
	}
}
