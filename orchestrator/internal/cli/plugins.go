package cli

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/shared/pkg/api"
)

const pathPlugins = "/api/v1/plugins"

func pluginsCommand(o *options) *cobra.Command {
	return group("plugins", "Publish plugins, say which agents have them, and watch them arrive",
		pluginsPublish(o), pluginsList(o), pluginsShow(o), pluginsApprove(o), pluginsRemove(o),
		pluginsAssign(o), pluginsUnassign(o), rolloutCommand(o),
		pluginsTrust(o), pluginsDistrust(o), pluginsPublishers(o))
}

func pluginsPublish(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "publish FILE",
		Short: "Take a package in, for agents that it is assigned to",
		Long: `Take a package in. It is verified whole: every file, the manifest, and the
signature when the organisation trusts keys (stavily plugins trust). A version never
changes: the same file again changes nothing, another one is refused.

Agents get it when its version is the highest in the range that they are assigned,
one after the other (stavily plugins rollout). A version that asks for more than any
approved one is given to nobody before it is approved.`,
		Example: "  stavily plugins publish disk-cleaner-1.1.0.tar.gz",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			if info, err := f.Stat(); err != nil || info.Size() > api.MaxPackageBytes {
				return errors.Join(err, fmt.Errorf("%s: a package has at most %d MiB", args[0], api.MaxPackageBytes>>20))
			}
			var p operatorapi.Published
			if err := o.client().Upload(cmd.Context(), pathPlugins, io.LimitReader(f, api.MaxPackageBytes+1), &p); err != nil {
				return err
			}
			if o.structured() {
				return o.print(cmd.OutOrStdout(), p)
			}
			said := "%s %s was published before, with the same content.\n"
			if p.Changed {
				said = "%s %s is published.\n"
			}
			fmt.Fprintf(cmd.OutOrStdout(), said, p.ID, p.Version)
			if err := showGrowth(cmd.OutOrStdout(), p.PackageDetail); err != nil || len(p.Rollouts) > 0 {
				return errors.Join(err, showRollouts(cmd.OutOrStdout(), o, p.Rollouts))
			}
			_, err = fmt.Fprintf(cmd.ErrOrStderr(), "Nobody has it yet. Assign it: stavily plugins assign %s --all\n", p.ID)
			return err
		},
	}
}

// showGrowth says what a version asks for, and what of it is news.
func showGrowth(w io.Writer, p operatorapi.PackageDetail) error {
	lines := []string{"It asks to reach nothing."}
	switch {
	case len(p.Grown) > 0 && p.Against != "":
		lines = []string{fmt.Sprintf("It asks for more than %s, which is approved:", p.Against)}
		for _, g := range p.Grown {
			lines = append(lines, "  + "+g)
		}
		lines = append(lines, fmt.Sprintf("No agent gets it before that is approved: stavily plugins approve %s@%s", p.ID, p.Version))
	case len(p.Asks) > 0:
		lines = []string{"It asks for:"}
		for _, a := range p.Asks {
			lines = append(lines, "    "+a)
		}
	}
	_, err := fmt.Fprintln(w, printable(strings.Join(lines, "\n")))
	return err
}

func pluginsList(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the published packages",
		Example: "  stavily plugins list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var packages []operatorapi.Package
			if err := o.client().Do(cmd.Context(), http.MethodGet, pathPlugins, nil, nil, &packages); err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), o, packages, "No packages. Publish one with: stavily plugins publish FILE",
				"ID|VERSION|TYPE|PUBLISHED|APPROVED|SIZE|SIGNER", func(p operatorapi.Package) []string {
					return []string{string(p.ID), p.Version, p.Type, ago(p.PublishedAt), ago(p.ApprovedAt), fmt.Sprintf("%d KiB", (p.Size+1023)/1024), signer(p)}
				})
		},
	}
}

func signer(p operatorapi.Package) string {
	switch {
	case p.Signer != "":
		return p.Signer
	case p.Signed:
		return "signed, not checked"
	}
	return "unsigned"
}

func pluginsShow(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show the versions of a plugin, what they ask for, and who has them",
		Example: "  stavily plugins show disk-cleaner",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var p operatorapi.Plugin
			if err := o.client().Do(cmd.Context(), http.MethodGet, pathOf(pathPlugins, args[0]), nil, nil, &p); err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			if o.structured() {
				return o.print(w, p)
			}
			for _, v := range p.Versions {
				err := facts(w, [2]string{"Version", v.Version}, [2]string{"Type", v.Type}, [2]string{"Package", v.Digest}, [2]string{"Directory", v.TreeDigest},
					[2]string{"Signer", signer(v.Package)}, [2]string{"Published", full(v.PublishedAt)}, [2]string{"Approved", full(v.ApprovedAt)}, [2]string{"Approved by", v.ApprovedBy})
				if err := errors.Join(err, showGrowth(w, v)); err != nil {
					return err
				}
				fmt.Fprintln(w)
			}
			return showRollouts(w, o, p.Rollouts)
		},
	}
}

// versionOf splits ID@VERSION.
func versionOf(arg string) (id, version string, err error) {
	id, version, found := strings.Cut(arg, "@")
	if !found || id == "" || version == "" {
		return "", "", usageError{fmt.Errorf("%q: must be ID@VERSION, for example disk-cleaner@1.1.0", arg)}
	}
	return id, version, nil
}

func pluginsApprove(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "approve ID@VERSION",
		Short: "Approve everything that a version asks for",
		Long: `Approve everything that a version asks for, and so every version that asks for no
more. What is more than before, "stavily plugins show ID" has. The owner of a host
still decides what its agent grants.`,
		Example: "  stavily plugins approve disk-cleaner@1.1.0",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, version, err := versionOf(args[0])
			if err != nil {
				return err
			}
			var p operatorapi.PackageDetail
			if err := o.client().Do(cmd.Context(), http.MethodPost, pathOf(pathPlugins, id, "versions", version, "approve"), nil, nil, &p); err != nil {
				return err
			}
			if o.structured() {
				return o.print(cmd.OutOrStdout(), p)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s is approved.\n", p.ID, p.Version)
			return showGrowth(cmd.OutOrStdout(), p)
		},
	}
}

func pluginsRemove(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "remove ID@VERSION",
		Short:   "Remove a package that no agent is to have",
		Example: "  stavily plugins remove disk-cleaner@1.0.0",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, version, err := versionOf(args[0])
			if err != nil {
				return err
			}
			if err := o.client().Do(cmd.Context(), http.MethodDelete, pathOf(pathPlugins, id, "versions", version), nil, nil, nil); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.ErrOrStderr(), "%s %s is removed.\n", id, version)
			return err
		},
	}
}

const pathPublishers = "/api/v1/publishers"

// maxKeys bounds a file of keys.
const maxKeys = 32 << 10

func pluginsTrust(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "trust FILE|KEY",
		Short: "Take packages that a key has signed, and no others",
		Long: `Take packages that a key has signed. From the first key on, packages without the
signature of one of them are refused. The argument is a public key, or a file with
such lines. Agents check signatures against their own plugins.trusted_keys.`,
		Example: "  stavily plugins trust release.pub\n  stavily plugins trust 'ssh-ed25519 AAAA… release@example.com'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text := args[0]
			if !strings.HasPrefix(text, "ssh-") {
				b, err := limits.ReadFile(args[0], maxKeys)
				if err != nil {
					return err
				}
				text = string(b)
			}
			var added []operatorapi.Publisher
			if err := o.client().Do(cmd.Context(), http.MethodPost, pathPublishers, nil, operatorapi.TrustRequest{Keys: text}, &added); err != nil {
				return err
			}
			return listPublishers(cmd, o, added)
		},
	}
}

func pluginsDistrust(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "distrust FINGERPRINT",
		Short:   "Take no more packages of a key; what is published stays",
		Example: "  stavily plugins distrust SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.client().Do(cmd.Context(), http.MethodDelete, pathPublishers, nil, operatorapi.DistrustRequest{Fingerprint: args[0]}, nil); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.ErrOrStderr(), "Key %s is not trusted any more.\n", args[0])
			return err
		},
	}
}

func pluginsPublishers(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "publishers",
		Short:   "List the keys whose packages are taken",
		Example: "  stavily plugins publishers",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var keys []operatorapi.Publisher
			if err := o.client().Do(cmd.Context(), http.MethodGet, pathPublishers, nil, nil, &keys); err != nil {
				return err
			}
			return listPublishers(cmd, o, keys)
		},
	}
}

func listPublishers(cmd *cobra.Command, o *options, keys []operatorapi.Publisher) error {
	return show(cmd.OutOrStdout(), o, keys, "No keys: every package is taken. Trust one with: stavily plugins trust FILE",
		"FINGERPRINT|TRUSTED|KEY", func(p operatorapi.Publisher) []string {
			return []string{p.Fingerprint, ago(p.TrustedAt), p.Key}
		})
}
