package workflow

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/shared/pkg/api"
)

const withSecrets = head + `actions:
- id: call
  plugin: http
  with:
    url: https://api.example/${{ event.data.path }}
    headers: {auth: ["x", "Bearer ${{ secrets.api }}"]}
    key: ${{ secrets["deploy-key"] }}
outputs:
- plugin: slack
  with: {token: "${{ secrets.slack }}", text: "${{ event.data.path }}"}
`

func dispatches(effects []Effect) map[string]Dispatch {
	out := map[string]Dispatch{}
	for _, e := range effects {
		if d, ok := e.(Dispatch); ok {
			out[d.Step] = d
		}
	}
	return out
}

// What people see has the names of secrets; where the values go is a list of places, which
// nothing that an event brings can add to.
func TestSecretsArePlacesAndNotText(t *testing.T) {
	d := parse(t, withSecrets)
	e := fullDisk("{}")
	e.Data["path"] = []byte(`"[secret api] ${{ secrets.api }}"`)
	s, effects, err := Start(d, "r", e)
	if err != nil {
		t.Fatal(err)
	}
	call := dispatches(effects)["call"]
	for name, want := range map[string]string{
		"url":     `"https://api.example/[secret api] ${{ secrets.api }}"`,
		"headers": `{"auth":["x","Bearer [secret api]"]}`,
		"key":     `"[secret deploy-key]"`,
	} {
		if got := string(call.Input[name]); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	want := []instruction.SecretText{
		{Path: []string{"headers", "auth", "1"}, Pieces: []instruction.SecretPiece{{Text: "Bearer "}, {Secret: "api"}}},
		{Path: []string{"key"}, Pieces: []instruction.SecretPiece{{Secret: "deploy-key"}}},
	}
	if diff := cmp.Diff(want, call.Secrets); diff != "" {
		t.Error(diff)
	}
	_, effects, err = Step(d, s, StepEnded{Step: "call", Status: api.Completed})
	if err != nil {
		t.Fatal(err)
	}
	slack := dispatches(effects)["slack"]
	if diff := cmp.Diff([]instruction.SecretText{{Path: []string{"token"}, Pieces: []instruction.SecretPiece{{Secret: "slack"}}}}, slack.Secrets); diff != "" {
		t.Error(diff)
	}
}

func TestADocumentSaysWhereItNamesSecrets(t *testing.T) {
	var got []string
	for _, u := range parse(t, withSecrets).Secrets() {
		got = append(got, u.Missing().Error())
	}
	want := []string{
		"w.yaml:8:39: there is no secret \"api\": make it with `stavily secrets set api`",
		"w.yaml:9:14: there is no secret \"deploy-key\": make it with `stavily secrets set deploy-key`",
		"w.yaml:12:22: there is no secret \"slack\": make it with `stavily secrets set slack`",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// An approval is of names, places and versions: another version, or a text of an event that
// looks like a secret, is another digest, and what was approved is pinned.
func TestAnApprovalIsOfVersionsOfSecrets(t *testing.T) {
	d := parse(t, head+"actions:\n- {id: ok, approval: {count: 1}}\n- {id: do, plugin: p, needs: [ok], with: {token: 'x${{ secrets.t }}'}}\n")
	asked := func(d *Definition) (State, Asked) {
		t.Helper()
		s, effects, err := Start(d, "r", fullDisk("{}"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range effects {
			if a, ok := e.(Ask); ok {
				return s, a.Asked
			}
		}
		t.Fatal("nobody was asked")
		return s, Asked{}
	}
	first := d.Knowing(map[string]int{"t": 1})
	s, a1 := asked(first)
	if _, a2 := asked(d.Knowing(map[string]int{"t": 2})); a1.Digest == a2.Digest {
		t.Error("another version has the same digest")
	}
	imitation := parse(t, head+"actions:\n- {id: ok, approval: {count: 1}}\n- {id: do, plugin: p, needs: [ok], with: {token: 'x[secret t]'}}\n")
	if _, a3 := asked(imitation); a1.Digest == a3.Digest {
		t.Error("a text that looks like a secret has the digest of one")
	}
	text, err := json.Marshal(a1)
	if err != nil || !strings.Contains(string(text), `"input":{"token":"x[secret t]"}`) || !strings.Contains(string(text), `{"secret":"t","version":1}`) {
		t.Errorf("asked %s, %v", text, err)
	}

	v := Verdict{Step: "ok", Digest: a1.Digest, By: "anna", Approve: true}
	_, effects, err := Step(first, s, v)
	if err != nil {
		t.Fatal(err)
	}
	if got := dispatches(effects)["do"].Secrets; len(got) != 1 || got[0].Pieces[1].Version != 1 {
		t.Errorf("what was approved is not pinned: %+v", got)
	}
	next, effects, err := Step(d.Knowing(map[string]int{"t": 2}), s, v)
	if err != nil {
		t.Fatal(err)
	}
	if len(dispatches(effects)) != 0 || next.Steps["do"].Status != StepStatus(api.Failed) || !strings.Contains(next.Steps["do"].Error, "and it would do") {
		t.Errorf("a secret that was set anew is given as approved: %+v", next.Steps["do"])
	}
}

func TestTestsOfADocumentSeeNamesOfSecrets(t *testing.T) {
	src := withSecrets + `tests:
- name: t
  event: {type: a.b, data: {path: p}}
  expect: {status: completed, with: {call: {key: "[secret deploy-key]", url: "https://api.example/p"}}}
`
	if _, err := parse(t, src).TryAll(t.Context()); err != nil {
		t.Error(err)
	}
}
