package cli

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/workflow"
)

// maxReplayed is how many events are replayed unless the command line says otherwise; each is
// a call of some milliseconds.
const maxReplayed = 500

func replayCommand(o *options) *cobra.Command {
	var l *lister
	file := ""
	var r operatorapi.ReplayRequest
	c := &cobra.Command{
		Use:   "replay (EVENT | --since TIME) (-f FILE | --workflow NAME)",
		Short: "Say what a workflow would make of events that have come, without executing anything",
		Long: `Say what a workflow, a draft or an earlier version of one, would make of an event that has come, and
which steps a run would begin with; or of all events since a time. Nothing is executed and nothing is
stored. Each event is judged by itself and as if it came now: cooldowns and windows count as they are.`,
		Example: "  stavily replay 01K8Z5V6J3Q0M7E2W1R9T4Y8AB -f draft.yaml\n  stavily replay 01K8Z5V6J3Q0M7E2W1R9T4Y8AB --workflow disk-full --version 3\n  stavily replay --since 168h -f draft.yaml",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (file == "") == (r.Workflow == "") {
				return usageError{errors.New("give a file with --file, or name a workflow with --workflow")}
			}
			if (len(args) == 0) == (*l.times["since"] == "") {
				return usageError{errors.New("name an event, or give a time with --since")}
			}
			if file != "" {
				draft, err := readWorkflow(cmd.InOrStdin(), file)
				if err != nil {
					return err
				}
				r.File, r.Text = draft.File, draft.Text
			}
			if len(args) == 0 {
				return replaySince(cmd, o, l, r)
			}
			var v operatorapi.Evaluation
			if err := o.client().Do(cmd.Context(), http.MethodPost, pathOf(pathEvents, args[0], "replay"), nil, r, &v); err != nil {
				return err
			}
			if o.structured() {
				return o.print(cmd.OutOrStdout(), v)
			}
			v.Decision.Shadow = true // for the words: nothing was executed
			tw := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			evaluation(tw, v)
			return tw.Flush()
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "`file` with the workflow, or - for standard input")
	c.Flags().StringVar(&r.Workflow, "workflow", "", "`name` of a workflow that was applied")
	c.Flags().Var((*natural)(&r.Version), "version", "its `version` (default: the one in effect)")
	l = newLister(c, maxReplayed)
	l.time(c, "since", "instead of one event all that were received from this `time` on, the newest first")
	c.Flags().StringVar((*string)(&r.Agent), "agent", "", "`id` of the agent whose events it is about; of one event where several gave one this id")
	return c
}

// replayed is what a workflow would make of one of many events.
type replayed struct {
	Event    operatorapi.Event `json:"event"`
	Decision workflow.Decision `json:"decision"`
}

// replaySince replays all events since a time, and tells which would start a run and why the
// others would not.
func replaySince(cmd *cobra.Command, o *options, l *lister, r operatorapi.ReplayRequest) error {
	query, err := l.query()
	if err != nil {
		return err
	}
	if r.Agent != "" {
		query.Set("agent", string(r.Agent))
	}
	client := o.client()
	events, err := operatorapi.List[operatorapi.Event](cmd.Context(), client, pathEvents, query, l.limit)
	if err != nil {
		return err
	}
	all := make([]replayed, len(events))
	for n, e := range events {
		r.Agent = e.Agent
		var v operatorapi.Evaluation
		if err := client.Do(cmd.Context(), http.MethodPost, pathOf(pathEvents, string(e.ID), "replay"), nil, r, &v); err != nil {
			return fmt.Errorf("event %s: %w", e.ID, err)
		}
		all[n] = replayed{e, v.Decision}
	}
	if o.structured() {
		return o.print(cmd.OutOrStdout(), all)
	}
	return summary(cmd, o, all, l.limit)
}

func summary(cmd *cobra.Command, o *options, all []replayed, limit int) error {
	runs := slices.DeleteFunc(slices.Clone(all), func(e replayed) bool { return !e.Decision.Run })
	err := show(cmd.OutOrStdout(), o, runs, "None of them would start a run.", "EVENT|TYPE|AGENT|RECEIVED|WOULD START", func(e replayed) []string {
		var begins []string
		for _, b := range e.Decision.Begins {
			begins = append(begins, b.Step+" on "+b.Target.String())
		}
		return []string{string(e.Event.ID), e.Event.Type, string(e.Event.Agent), ago(e.Event.ReceivedAt), strings.Join(begins, ", ")}
	})
	if err != nil {
		return err
	}
	reasons := map[string]int{}
	for _, e := range all {
		if !e.Decision.Run {
			reasons[e.Decision.Decider()]++
		}
	}
	names := slices.SortedFunc(maps.Keys(reasons), func(a, b string) int { return cmp.Or(reasons[b]-reasons[a], cmp.Compare(a, b)) })
	tw := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "\n%d of %d events would start a run.\n", len(runs), len(all))
	if len(all) == limit {
		fmt.Fprintf(tw, "They are the newest %d; --limit 0 takes all.\n", limit)
	}
	for _, reason := range names {
		fmt.Fprintf(tw, "%d\t%s\n", reasons[reason], printable(reason))
	}
	return tw.Flush()
}
