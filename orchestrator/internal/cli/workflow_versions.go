package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/spf13/cobra"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
)

// maxVersions is what the server gives at a time.
const maxVersions = 500

func workflowsHistory(o *options) *cobra.Command {
	limit := 0
	c := &cobra.Command{
		Use:     "history NAME",
		Short:   "List the versions of a workflow, the newest first",
		Long:    "List the versions of a workflow, the newest first, with what each changed in lines. Versions\nnever change; a deleted workflow keeps them.",
		Example: "  stavily workflows history disk-full",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 1 || limit > maxVersions {
				return usageError{fmt.Errorf("--limit %d: must be from 1 to %d", limit, maxVersions)}
			}
			versions, err := versionsOf(cmd, o, args[0], limit)
			if err != nil {
				return err
			}
			before := map[int]string{}
			for _, v := range versions {
				before[v.Version+1] = v.Text
			}
			return show(cmd.OutOrStdout(), o, versions, "", "VERSION|APPLIED|LINES|DIGEST", func(w operatorapi.Workflow) []string {
				return []string{strconv.Itoa(w.Version), full(w.AppliedAt), change(before[w.Version], w.Text), w.Digest}
			})
		},
	}
	c.Flags().IntVar(&limit, "limit", 50, fmt.Sprintf("at most this many, 1 to %d", maxVersions))
	return c
}

func versionsOf(cmd *cobra.Command, o *options, name string, limit int) (out []operatorapi.Workflow, err error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	return out, o.client().Do(cmd.Context(), http.MethodGet, pathOf(pathWorkflows, name, "versions"), query, nil, &out)
}

// change counts the lines that a text has more and less than the one before.
func change(before, now string) string {
	more, less := 0, 0
	for line := range strings.Lines(udiff.Unified("", "", before, now)) {
		switch {
		case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "---"):
		case line[0] == '+':
			more++
		case line[0] == '-':
			less++
		}
	}
	return fmt.Sprintf("+%d -%d", more, less)
}

func workflowsDiff(o *options) *cobra.Command {
	file, from, to := "", 0, 0
	c := &cobra.Command{
		Use:   "diff NAME | diff -f FILE",
		Short: "Show what changed between two versions of a workflow, or would change with a file",
		Long: `Show what changed between two versions of a workflow, or what applying a file would change, as a
unified diff. Nothing is printed where nothing differs.`,
		Example: "  stavily workflows diff -f disk-full.yaml\n  stavily workflows diff disk-full\n  stavily workflows diff disk-full --from 3 --to 5",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (file == "") == (len(args) == 0) {
				return usageError{fmt.Errorf("name a workflow, or give a file with --file")}
			}
			if file != "" {
				return diffFile(cmd, o, file)
			}
			return diffVersions(cmd, o, args[0], from, to)
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "`file` to compare with what is in effect, or - for standard input")
	c.Flags().Var((*natural)(&from), "from", "the older `version` (default: the one before --to)")
	c.Flags().Var((*natural)(&to), "to", "the newer `version` (default: the newest)")
	return c
}

func diffFile(cmd *cobra.Command, o *options, file string) error {
	d, text, err := parseFile(cmd, file)
	if err != nil {
		return placesOr(err)
	}
	current, name := "", "none in effect"
	all, err := workflowsInEffect(cmd, o)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(w operatorapi.Workflow) bool { return w.Name == d.Name }) {
		var w operatorapi.Workflow
		if err := o.client().Do(cmd.Context(), http.MethodGet, pathOf(pathWorkflows, d.Name), nil, nil, &w); err != nil {
			return err
		}
		current, name = w.Text, versionName(w)
	}
	return printDiff(cmd.OutOrStdout(), name, file, current, text)
}

func diffVersions(cmd *cobra.Command, o *options, name string, from, to int) error {
	versions, err := versionsOf(cmd, o, name, 500)
	if err != nil {
		return err
	}
	if to == 0 {
		to = versions[0].Version
	}
	if from == 0 {
		from = to - 1
	}
	find := func(number int) (operatorapi.Workflow, error) {
		i := slices.IndexFunc(versions, func(w operatorapi.Workflow) bool { return w.Version == number })
		if i < 0 {
			return operatorapi.Workflow{}, fmt.Errorf("workflow %s has no version %d: \"stavily workflows history %s\" lists those there are", name, number, name)
		}
		return versions[i], nil
	}
	newer, err := find(to)
	if err != nil {
		return err
	}
	older := operatorapi.Workflow{Name: name}
	if from > 0 {
		if older, err = find(from); err != nil {
			return err
		}
	}
	return printDiff(cmd.OutOrStdout(), versionName(older), versionName(newer), older.Text, newer.Text)
}

func versionName(w operatorapi.Workflow) string {
	return fmt.Sprintf("%s version %d", w.Name, w.Version)
}

func printDiff(w io.Writer, from, to, before, after string) error {
	_, err := io.WriteString(w, printable(udiff.Unified(from, to, before, after)))
	return err
}

func workflowsRollback(o *options) *cobra.Command {
	version := 0
	c := &cobra.Command{
		Use:   "rollback NAME",
		Short: "Put an earlier version of a workflow into effect again",
		Long: `Put the text of an earlier version into effect again, as a new version: history only grows. Runs
that have begun stay on the version they began with.`,
		Example: "  stavily workflows rollback disk-full\n  stavily workflows rollback disk-full --to 3",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var applied operatorapi.Applied
			r := operatorapi.RollbackRequest{Version: version}
			if err := o.client().Do(cmd.Context(), http.MethodPost, pathOf(pathWorkflows, args[0], "rollback"), nil, r, &applied); err != nil {
				return err
			}
			return tellApplied(cmd.OutOrStdout(), o, applied)
		},
	}
	c.Flags().Var((*natural)(&version), "to", "the `version` to go back to (default: the one before the newest)")
	return c
}
