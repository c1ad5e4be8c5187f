package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/internal/audit"
	"github.com/stavily/agents/internal/terminal"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
)

// errTampered is the failure of a verification: what was found is printed.
var errTampered = errors.New("the audit log is not as it was written")

func auditCommand(role Role, load loader) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Read and verify the record of what this agent was told, did and refused",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(auditVerifyCommand(role, load), auditShowCommand(role, load))
	return cmd
}

// auditFiles are those that are named, or the one of the configuration.
func auditFiles(args []string, load loader) ([]string, error) {
	if len(args) > 0 {
		return args, nil
	}
	loaded, err := load()
	if err != nil {
		return nil, err
	}
	return []string{loaded.Config.Security.Audit.File}, nil
}

func auditVerifyCommand(role Role, load loader) *cobra.Command {
	format, noted := "text", ""
	cmd := &cobra.Command{
		Use:   "verify [FILE…]",
		Short: "Find what was edited, removed, moved or cut off",
		Long: `Follows the chain of hashes through one file, or through several that continue each other, the oldest first.
Without a file it takes the one of the configuration. Exit code 1 says that something was found.

Who can write the file can also make a new one whose chain is whole. A record that was noted elsewhere shows
that: --expect takes its number and hash, as the agent logs them when it stops ("audit log closed").`,
		Example: fmt.Sprintf("  %[1]s audit verify --agent-id web-01\n  %[1]s audit verify audit.log.1 audit.log -o json\n  %[1]s audit verify audit.log --expect 4711:5f2c…", role.Program),
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "text" && format != config.JSON {
				return fmt.Errorf("%w: --output %q: must be text or %s", errUsage, format, config.JSON)
			}
			expected, err := parseHead(noted)
			if err != nil {
				return err
			}
			files, err := auditFiles(args, load)
			if err != nil {
				return err
			}
			report, err := audit.Verify(files, expected)
			if err != nil {
				return err
			}
			return tellVerified(cmd, report, format)
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", format, "text or json")
	cmd.Flags().StringVar(&noted, "expect", "", "`SEQ:HASH` of a record that must be there")
	return cmd
}

// parseHead reads SEQ:HASH; nothing is nil.
func parseHead(text string) (*audit.Head, error) {
	if text == "" {
		return nil, nil
	}
	number, hash, _ := strings.Cut(text, ":")
	seq, err := strconv.ParseUint(number, 10, 64)
	if err != nil || len(hash) != 64 {
		return nil, fmt.Errorf("%w: --expect %q: must be the number and the hash of a record, as in 4711:5f2c…", errUsage, text)
	}
	return &audit.Head{Seq: seq, Hash: hash}, nil
}

func tellVerified(cmd *cobra.Command, r audit.Report, format string) error {
	var err error
	out := cmd.OutOrStdout()
	if format == config.JSON {
		err = json.NewEncoder(out).Encode(r)
	} else {
		for _, f := range r.Findings {
			fmt.Fprintln(out, terminal.Printable(f.String()))
		}
		first := ""
		if r.First > 1 {
			first = fmt.Sprintf(" (records before %d are in an earlier file: name that first to check them too)", r.First)
		}
		_, err = fmt.Fprintf(out, "%d records, the last is %d:%s%s\n", r.Records, r.Last.Seq, r.Last.Hash, first)
	}
	if err == nil && len(r.Findings) > 0 {
		err = fmt.Errorf("%w: %d findings", errTampered, len(r.Findings))
	}
	return err
}

func auditShowCommand(role Role, load loader) *cobra.Command {
	var kinds []string
	last, format := 50, "text"
	cmd := &cobra.Command{
		Use:     "show [FILE]",
		Short:   "Print the latest records",
		Long:    `Prints records without verifying them: that is what "audit verify" is for.`,
		Example: fmt.Sprintf("  %[1]s audit show --agent-id web-01 --kind denied --last 20", role.Program),
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if last < 1 || format != "text" && format != config.JSON {
				return fmt.Errorf("%w: --last must be at least 1, and --output text or %s", errUsage, config.JSON)
			}
			files, err := auditFiles(args, load)
			if err != nil {
				return err
			}
			records, err := latest(files[0], kinds, last)
			if err != nil {
				return err
			}
			for _, r := range records {
				if format == config.JSON {
					err = errors.Join(err, json.NewEncoder(cmd.OutOrStdout()).Encode(r))
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%d  %s  %s  %s\n", r.Seq, r.Time.Format(api.TimeLayout), terminal.Printable(string(r.Kind)), terminal.Printable(string(r.Fields)))
			}
			return err
		},
	}
	cmd.Flags().StringSliceVar(&kinds, "kind", nil, "only records of these `kinds`, as in denied,instruction_ended")
	cmd.Flags().IntVar(&last, "last", last, "at most this many, the newest")
	cmd.Flags().StringVarP(&format, "output", "o", format, "text or json, one record a line")
	return cmd
}

// latest reads the last records of the given kinds, or of all.
func latest(file string, kinds []string, most int) ([]audit.Record, error) {
	var out []audit.Record
	err := audit.Read(file, func(r audit.Record) bool {
		if len(kinds) > 0 && !slices.Contains(kinds, string(r.Kind)) {
			return true
		}
		if out = append(out, r); len(out) > 2*most {
			out = append(out[:0], out[len(out)-most:]...)
		}
		return true
	})
	if len(out) > most {
		out = out[len(out)-most:]
	}
	return out, err
}
