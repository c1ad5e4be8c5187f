package agentapi_test

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/engine/packtest"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
)

// set is what an agent is to have now.
func set(t *testing.T, a *servertest.Agent) api.Assignments {
	t.Helper()
	got, _, err := a.Assignments(t.Context(), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// says sends a heartbeat that tells this state of everything that the agent is to have.
func says(t *testing.T, a *servertest.Agent, state api.PackageState, message string) {
	t.Helper()
	h := api.Heartbeat{Timestamp: api.At(time.Now()), Status: "online"}
	for _, p := range set(t, a).Plugins {
		h.Assigned = append(h.Assigned, api.AssignedState{ID: p.ID, Version: p.Version, Digest: p.Digest, Attempt: p.Attempt, State: state, Message: message})
	}
	if _, err := a.Heartbeat(t.Context(), h); err != nil {
		t.Fatal(err)
	}
}

func fetch(t *testing.T, a *servertest.Agent, p api.AssignedPlugin, have []byte) ([]byte, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "package")
	if err := os.WriteFile(path, have, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := a.FetchPackage(t.Context(), p, f); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

var toAll = operatorapi.AssignRequest{Selector: "all", AtOnce: true}

// TestAnAgentGetsItsPackage from the wait for it to the last byte, and nobody else does.
func TestAnAgentGetsItsPackage(t *testing.T) {
	s := servertest.Start(t)
	mine, another := s.Enrol(api.Action, "action-1", "a"), s.Enrol(api.Action, "action-2", "a")
	sensor, stranger := s.Enrol(api.Sensor, "sensor-1", "a"), s.Organisation("other").Enrol(api.Action, "action-1", "a")
	key := packtest.NewKey(t)
	content := packtest.Pack(t, "cleaner", "1.0.0", key)
	var wg sync.WaitGroup
	var told api.Assignments
	empty := set(t, mine)
	wg.Go(func() {
		var err error
		var changed bool
		if told, changed, err = mine.Assignments(t.Context(), empty.Version, 30*time.Second); err != nil || !changed {
			t.Errorf("the agent that waits: changed %v, %v", changed, err)
		}
	})
	published := s.Publish(content)
	s.Assign("cleaner", operatorapi.AssignRequest{Selector: "agent:action-1", AtOnce: true})
	wg.Wait()
	if len(told.Plugins) != 1 {
		t.Fatalf("the set %+v, want one package", told)
	}
	p := told.Plugins[0]
	if p.Digest != published.Digest || p.TreeDigest != published.TreeDigest || p.Size != int64(len(content)) || p.Type != "action" || !p.Approved {
		t.Errorf("assigned %+v", p)
	}
	for name, have := range map[string][]byte{"all of it": nil, "the rest": content[:len(content)/2]} {
		if got, err := fetch(t, mine, p, have); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %v, or another content", name, err)
		}
	}
	for name, a := range map[string]*servertest.Agent{"another agent": another, "a sensor": sensor, "another organisation": stranger} {
		if got := set(t, a); len(got.Plugins) != 0 {
			t.Errorf("%s is to have %+v", name, got.Plugins)
		}
		if _, err := fetch(t, a, p, nil); api.CodeOf(err) != api.CodeNotFound {
			t.Errorf("%s fetches it: %v", name, err)
		}
	}
	resp, err := s.HTTP(mine).Get(s.URL() + "/agents/v1/action-1/plugins/cleaner/1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.Header.Get(api.HeaderDigest) != p.Digest || !strings.HasPrefix(resp.Header.Get(api.HeaderSignature), "U1NIU0lH") { // SSHSIG
		t.Errorf("header %v", resp.Header)
	}
	s.Do(http.MethodDelete, "/api/v1/plugins/cleaner/assignments", operatorapi.UnassignRequest{Selector: "agent:action-1"}, nil)
	if _, err := fetch(t, mine, p, nil); api.CodeOf(err) != api.CodeNotFound {
		t.Errorf("after it was unassigned: %v", err)
	}
}

// TestARevokedAgentWaitsNoLonger for its packages.
func TestARevokedAgentWaitsNoLonger(t *testing.T) {
	s := servertest.Start(t)
	a := s.Enrol(api.Action, "action-1", "a")
	known := set(t, a)
	ended := make(chan error, 1)
	go func() {
		_, _, err := a.Assignments(t.Context(), known.Version, 30*time.Second)
		ended <- err
	}()
	s.Do(http.MethodPost, "/api/v1/agents/action-1/revoke", operatorapi.RevokeRequest{}, nil)
	select {
	case err := <-ended:
		if api.CodeOf(err) != api.CodeRevoked {
			t.Errorf("%v, want agent_revoked", err)
		}
	case <-time.After(5 * time.Second): // before the poll is over
		t.Fatal("it still waits")
	}
}

// TestRollOutOverARestart: stages, a failure, and what was stored when the server stops.
func TestRollOutOverARestart(t *testing.T) {
	s := servertest.Start(t)
	a, b := s.Enrol(api.Action, "action-1", "a"), s.Enrol(api.Action, "action-2", "a")
	both := []*servertest.Agent{a, b}
	for _, one := range both {
		says(t, one, "", "")
	}
	s.Publish(packtest.Pack(t, "cleaner", "1.0.0", nil))
	s.Assign("cleaner", operatorapi.AssignRequest{Selector: "all", Range: "^1", SettleSeconds: 1})
	phase := func(want string) operatorapi.Rollout {
		t.Helper()
		var rollouts []operatorapi.Rollout
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			rollouts = nil
			s.Do(http.MethodGet, "/api/v1/rollouts", nil, &rollouts)
			if strings.TrimSpace(rollouts[0].Phase+" "+rollouts[0].Stage+" "+rollouts[0].Version+" "+rollouts[0].Target) == want {
				return rollouts[0]
			}
			if rollouts[0].Phase == "rolling" && len(set(t, a).Plugins)+len(set(t, b).Plugins) > 0 && !strings.HasPrefix(want, "stopped") {
				says(t, a, api.PackageReady, "")
				says(t, b, api.PackageReady, "")
			}
		}
		t.Fatalf("roll-out %+v, want %q", rollouts[0], want)
		return operatorapi.Rollout{}
	}
	phase("rolling one  1.0.0")
	before := set(t, a)
	s.Restart()
	if after := set(t, a); after.Version != before.Version {
		t.Errorf("the set has another version after a restart: %+v, %+v", before, after)
	}
	phase("idle  1.0.0")
	s.Publish(packtest.Pack(t, "cleaner", "1.1.0", nil))
	if got := set(t, a).Plugins[0].Version + set(t, b).Plugins[0].Version; got != "1.1.01.0.0" {
		t.Errorf("versions %s, want the first agent alone to have 1.1.0", got)
	}
	says(t, a, api.PackageRolledBack, "it ended after 3s")
	stopped := phase("stopped one 1.0.0 1.1.0")
	if !strings.Contains(stopped.Reason, "action-1: rolled_back: it ended after 3s") || stopped.Agents[0].Message != "it ended after 3s" {
		t.Errorf("stopped: %+v", stopped)
	}
	s.Restart()
	if got := set(t, b).Plugins[0].Version; got != "1.0.0" {
		t.Errorf("after a stop and a restart the second agent is to have %s", got)
	}
	s.Publish(packtest.Pack(t, "cleaner", "1.1.1", nil))
	phase("idle  1.1.1")
}

// TestFilesWithoutARecordGo at the next start, and those with one stay.
func TestFilesWithoutARecordGo(t *testing.T) {
	s := servertest.Start(t)
	a := s.Enrol(api.Action, "action-1", "a")
	content := packtest.Pack(t, "cleaner", "1.0.0", nil)
	s.Publish(content)
	s.Assign("cleaner", toAll)
	orphan := filepath.Join(s.DataDir, "packages", strings.Repeat("0", 64)+".tar.gz")
	if err := os.WriteFile(orphan, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	if _, err := os.Stat(orphan); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the orphan: %v", err)
	}
	if got, err := fetch(t, a, set(t, a).Plugins[0], nil); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the package: %v", err)
	}
}
