package workflow

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/shared/pkg/api"
)

// TestStepsSayWhatIsInstalled finds what a document says about a plugin in what the
// engine is told to send.
func TestStepsSayWhatIsInstalled(t *testing.T) {
	d := parse(t, `
name: w
triggers: [{event: a}]
actions:
  - {id: get, plugin: p@^1, type: plugin_install, plugin_configuration: {plugin_url: "https://h/x", tag: v1, sub_directory: d}}
  - {id: run, plugin: p, needs: [get], plugin_configuration: {arguments: ["--x"], environment: {A: b}}}
`)
	var sent []Dispatch
	s, effects, err := Start(d, "run-1", Event{Event: api.Event{Type: "a"}})
	for range 2 {
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range effects {
			if e, ok := e.(Dispatch); ok {
				sent = append(sent, e)
			}
		}
		s, effects, err = Step(d, s, StepEnded{Step: sent[len(sent)-1].Step, Status: api.Completed})
	}
	if len(sent) != 2 {
		t.Fatalf("sent %+v", sent)
	}
	want := api.PluginConfiguration{PluginURL: "https://h/x", Tag: "v1", SubDirectory: "d"}
	if diff := cmp.Diff(want, sent[0].Setup); diff != "" || sent[0].Type != api.TypeInstall || sent[0].Version != "^1" {
		t.Errorf("%s %s (-want +got):\n%s", sent[0].Type, sent[0].Version, diff)
	}
	want = api.PluginConfiguration{Arguments: []string{"--x"}, Environment: map[string]string{"A": "b"}}
	if diff := cmp.Diff(want, sent[1].Setup); diff != "" || sent[1].Type != "" {
		t.Errorf("%s (-want +got):\n%s", sent[1].Type, diff)
	}
}
