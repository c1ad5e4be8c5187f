package workflow_test

import (
	"encoding/json"
	"fmt"

	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

const cleanWhenFull = `
name: clean-when-full
triggers:
  - event: disk.space.*
when: event.data.percent >= 90
actions:
  - plugin: disk-cleaner
    with: {path: "${{ event.data.mount }}"}
outputs:
  - plugin: slack
    with: {text: "${{ event.agent.host }}: ${{ run.status }}"}
`

func fullDisk(percent string) workflow.Event {
	return workflow.Event{
		Event: api.Event{ID: "01E", Type: "disk.space.high", Data: map[string]json.RawMessage{
			"percent": json.RawMessage(percent), "mount": json.RawMessage(`"/var"`),
		}},
		Agent: workflow.Agent{ID: "web-1", Host: "web-1.example"},
	}
}

func Example() {
	d, err := workflow.Parse("clean.yaml", []byte(cleanWhenFull))
	if err != nil {
		fmt.Println(err)
		return
	}
	state, effects, err := workflow.Start(d, "01R", fullDisk("97"))
	for err == nil && len(effects) > 0 {
		var next workflow.Input
		for _, effect := range effects {
			switch e := effect.(type) {
			case workflow.Dispatch:
				fmt.Printf("run %s with %s\n", e.Plugin, e.Input)
				next = workflow.StepEnded{Step: e.Step, Status: api.Completed} // as its agent will report
			case workflow.Finished:
				fmt.Println("finished:", e.Status)
				return
			}
		}
		state, effects, err = workflow.Step(d, state, next)
	}
	// Output:
	// run disk-cleaner with map[path:"/var"]
	// run slack with map[text:"web-1.example: completed"]
	// finished: completed
}

func ExampleDefinition_Decide() {
	d, err := workflow.Parse("clean.yaml", []byte(cleanWhenFull))
	if err != nil {
		fmt.Println(err)
		return
	}
	decision := d.Decide(fullDisk("42.5"))
	fmt.Println(decision.Run, decision.Reason)
	for _, c := range decision.Clauses {
		fmt.Printf("%s: %s (%s)\n", c.Outcome, c.Clause, c.Value)
	}
	// Output:
	// false when is not met: event.data.percent >= 90 (event.data.percent = 42.5)
	// met: mode is not off (live)
	// met: trigger takes disk.space.* (disk.space.high)
	// not met: when event.data.percent >= 90 (event.data.percent = 42.5)
}

func ExampleParse() {
	_, err := workflow.Parse("clean.yaml", []byte(`
name: clean-when-full
triggers:
  - event: disk.space.high
when: event.data.percent > variables.limit
actions:
  - plugin: disk-cleaner
    needs: [backup]
    tiemout: 2m
`))
	fmt.Println(err)
	// Output:
	// clean.yaml:5:38: unknown variable "limit": there are no variables
	// clean.yaml:8:13: needs names the unknown action "backup"
	// clean.yaml:9:5: unknown key "tiemout" in actions[0]: did you mean "timeout"?
}
