package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/shared/pkg/api"
)

const pathRuns = "/api/v1/runs"

func runsCommand(o *options) *cobra.Command {
	return group("runs", "List, show, follow, cancel and retry runs of workflows",
		runsList(o), runsShow(o), runsLogs(o), runsFollow(o), runsCancel(o), runsRetry(o))
}

func runsList(o *options) *cobra.Command {
	var l *lister
	c := &cobra.Command{
		Use:     "list",
		Short:   "List runs, newest first",
		Example: "  stavily runs list --watch\n  stavily runs list --workflow disk-full --status failed --since 24h",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			runs, err := readList[operatorapi.Run](cmd, o, pathRuns, l)
			if err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), o, runs, l.none("No runs. Workflows run when an event that they name arrives.", "run"),
				"RUN|WORKFLOW|STATUS|STARTED|TOOK|EVENT", func(r operatorapi.Run) []string {
					return []string{string(r.ID), fmt.Sprintf("%s (%d)", r.Workflow, r.Version), r.Status, ago(r.StartedAt), took(r.StartedAt, r.FinishedAt), string(r.EventID)}
				})
		},
	}
	l = newLister(c, 50)
	l.filter(c, "workflow", "only runs of the workflow of this `name`")
	l.choice(c, "status", "only runs that are: queued, running, completed, failed, cancelled or escalated", operatorapi.RunStatuses())
	l.filter(c, "event", "only runs that the event of this `id` started")
	l.time(c, "since", "only runs made from this `time` on")
	l.time(c, "until", "only runs made before this `time`")
	return c
}

// took is how long something lasted, or lasts already.
func took(from, to api.Time) string {
	switch {
	case from.IsZero():
		return ""
	case to.IsZero():
		return rough(time.Since(from.Time)) + " …"
	}
	d := to.Sub(from.Time)
	if d < 10*time.Second {
		return d.Round(time.Millisecond).String()
	}
	return rough(d)
}

func runsShow(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show a run: its steps, their results and its history",
		Example: "  stavily runs show 01JD8Z6T5V0000000000000000",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var r operatorapi.RunDetail
			if err := o.client().Do(cmd.Context(), http.MethodGet, pathOf(pathRuns, args[0]), nil, nil, &r); err != nil {
				return err
			}
			if o.structured() {
				return o.print(cmd.OutOrStdout(), r)
			}
			return showRun(cmd.OutOrStdout(), o, r)
		},
	}
}

func showRun(w io.Writer, o *options, r operatorapi.RunDetail) error {
	err := facts(w, [2]string{"Run", string(r.ID)}, [2]string{"Workflow", fmt.Sprintf("%s (version %d)", r.Workflow, r.Version)},
		[2]string{"Status", r.Status}, [2]string{"Retry of", string(r.RetryOf)}, [2]string{"Event", string(r.EventID)}, [2]string{"Key", r.Key},
		[2]string{"Started", full(r.StartedAt)}, [2]string{"Took", took(r.StartedAt, r.FinishedAt)})
	if err != nil {
		return err
	}
	fmt.Fprintln(w)
	err = show(w, o, r.Steps, "No step was dispatched.", "STEP|STATUS|PLUGIN|AGENT|ATTEMPT|TOOK|OUTCOME", func(s operatorapi.Step) []string {
		return []string{s.Step, string(s.Status), string(s.Plugin), string(s.Agent), strconv.Itoa(s.Attempt), took(s.StartedAt, s.FinishedAt), outcome(s)}
	})
	if err != nil {
		return err
	}
	if err := showTraffic(w, o, r.Steps); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, h := range r.History {
		if err := showHistory(w, h); err != nil {
			return err
		}
	}
	return nil
}

// traffic is what a step did with one network destination.
type traffic struct {
	operatorapi.Step
	api.Traffic
}

// showTraffic prints whom the steps talked to, if any did.
func showTraffic(w io.Writer, o *options, steps []operatorapi.Step) error {
	var rows []traffic
	for _, s := range steps {
		if s.Result == nil {
			continue
		}
		for _, t := range s.Result.Network {
			rows = append(rows, traffic{s, t})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	return show(w, o, rows, "", "STEP|ATTEMPT|DESTINATION|CONNECTIONS|REFUSED|FAILED|SHARED|SENT|RECEIVED|ADDRESSES|LAST ERROR", func(t traffic) []string {
		return []string{
			t.Step.Step, strconv.Itoa(t.Attempt), t.Destination, fmt.Sprint(t.Connections), fmt.Sprint(t.Refused), fmt.Sprint(t.Failed), fmt.Sprint(t.Shared),
			fmt.Sprint(t.BytesSent, " B"), fmt.Sprint(t.BytesReceived, " B"), strings.Join(t.Addresses, " "), t.LastError,
		}
	})
}

// outcome is what a step came to, in a few words.
func outcome(s operatorapi.Step) string {
	const most = 100 // a table row, not the whole result: that is in -o json
	text := s.Message
	switch {
	case s.Result != nil && s.Result.ErrorMessage != "":
		text = s.Result.ErrorMessage
	case s.Result != nil && len(s.Result.Result) > 0:
		text = string(s.Result.Result)
	}
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return text
}

func showHistory(w io.Writer, h operatorapi.History) error {
	_, err := fmt.Fprintf(w, "%s  %-12s  %s  %s\n", clock(h.At), printable(h.Kind), cell(h.Step), cell(h.Message))
	return err
}

// clock is the time of a line in a list of lines.
func clock(t api.Time) string { return t.Local().Format("15:04:05.000") }

func runsLogs(o *options) *cobra.Command {
	var follow bool
	c := &cobra.Command{
		Use:     "logs ID",
		Short:   "Print what the plugins of a run wrote",
		Example: "  stavily runs logs 01JD8Z6T5V0000000000000000 -f",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{"follow": {strconv.FormatBool(follow)}}
			return followLines(cmd, o, pathOf(pathRuns, args[0], "logs"), query, func(l operatorapi.Log) int64 { return l.Cursor }, func(l operatorapi.Log) string {
				return fmt.Sprintf("%s  %s  %s", clock(l.At), l.Plugin, l.Message)
			})
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the run ends")
	return c
}

func runsFollow(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "follow ID",
		Short:   "Print the history of a run as it happens, until it ends",
		Example: "  stavily runs follow 01JD8Z6T5V0000000000000000",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return followLines(cmd, o, pathOf(pathRuns, args[0], "follow"), nil, func(h operatorapi.History) int64 { return int64(h.Seq) }, func(h operatorapi.History) string {
				return fmt.Sprintf("%s  %-12s  %s  %s", clock(h.At), h.Kind, cell(h.Step), h.Message)
			})
		},
	}
}

func runsCancel(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "cancel ID",
		Short: "Cancel a run",
		Long: `Cancel a run: steps that have not started never will; the agent of one that runs
is told at its next progress report and stops the plugin.`,
		Example: "  stavily runs cancel 01JD8Z6T5V0000000000000000",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var r operatorapi.Run
			if err := o.client().Do(cmd.Context(), http.MethodPost, pathOf(pathRuns, args[0], "cancel"), nil, nil, &r); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.ErrOrStderr(), "Run %s is asked to stop; it is %s.\n", r.ID, r.Status)
			return err
		},
	}
}

func runsRetry(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "retry ID",
		Short: "Run a workflow again for what a run that has ended was for",
		Long: `Run the workflow in effect again, from its first step, for the event of a run that has
ended. That you ask lets cooldown, duplicates, throttle and attempts count for nothing; the
condition, freezes and the other limits hold, and where they do, they say so.`,
		Example: "  stavily runs retry 01JD8Z6T5V0000000000000000\n  stavily runs follow $(stavily runs retry 01JD8Z6T5V0000000000000000 -o json | jq -r .id)",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var r operatorapi.Run
			if err := o.client().Do(cmd.Context(), http.MethodPost, pathOf(pathRuns, args[0], "retry"), nil, nil, &r); err != nil {
				return err
			}
			if o.structured() {
				return o.print(cmd.OutOrStdout(), r)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "Run %s of %s (version %d) is %s.\n", r.ID, r.Workflow, r.Version, r.Status)
			return err
		},
	}
}
