package cli

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
)

func debugCommand(o *options) *cobra.Command {
	return group("debug", "Look into a running server", debugProfile(o))
}

func debugProfile(o *options) *cobra.Command {
	var length time.Duration
	var file string
	c := &cobra.Command{
		Use:   "profile [" + strings.Join(operatorapi.Profiles(), "|") + "]",
		Short: "Take a profile of the server: where its time and memory go",
		Long: `Take a profile of the server, cpu where none is named, and write it to a file for
"go tool pprof"; a trace is for "go tool trace". It has the names of functions and
counts, and nothing of events, runs or secrets. What runs meanwhile is slower by a few
percent. It takes an admin.`,
		Example:   "  stavily debug profile\n  stavily debug profile heap\n  stavily debug profile cpu --for 30s --file cpu.pprof && go tool pprof -top cpu.pprof",
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: operatorapi.Profiles(),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := operatorapi.Profiles()[0]
			if len(args) > 0 {
				name = args[0]
			}
			if !slices.Contains(operatorapi.Profiles(), name) {
				return usageError{fmt.Errorf("there is no profile %q: take one of %s", name, strings.Join(operatorapi.Profiles(), ", "))}
			}
			if cmd.Flags().Changed("for") && length < time.Second {
				return usageError{fmt.Errorf("--for %s: must be at least 1s", length)}
			}
			query := url.Values{}
			if cmd.Flags().Changed("for") {
				query.Set("seconds", strconv.Itoa(int(length.Round(time.Second).Seconds())))
			}
			var taken bytes.Buffer
			if err := o.client().Download(cmd.Context(), pathOf("/api/v1/debug/pprof", name), query, &taken); err != nil {
				return err
			}
			if file == "" {
				file = fmt.Sprintf("stavily-%s-%s.pprof", name, time.Now().UTC().Format("20060102T150405"))
			}
			if err := os.WriteFile(file, taken.Bytes(), 0o600); err != nil {
				return err
			}
			tool := "pprof -top"
			if name == "trace" {
				tool = "trace"
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s has the profile: go tool %s %s\n", file, tool, file)
			return err
		},
	}
	c.Flags().DurationVar(&length, "for", 0, "how `long` to look, in whole seconds: of cpu, mutex and block 1s to 60s, of a trace 1s to 5s (default 10s, of a trace 2s)")
	c.Flags().StringVarP(&file, "file", "f", "", "write it to this `file` (default: stavily-PROFILE-TIME.pprof in the working directory)")
	return c
}
