package kit

import (
	"errors"
	"fmt"
	"os"
	"os/user"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/shared/pkg/bundle"
)

// trust is a key as its users need it, as JSON.
type trust struct {
	Key         string `json:"key"` // a line of authorized_keys
	Fingerprint string `json:"fingerprint"`
	Comment     string `json:"comment,omitempty"`
	File        string `json:"file,omitempty"` // of the private key
}

func trustOf(k bundle.Key) trust {
	return trust{Key: k.Line(), Fingerprint: k.Fingerprint(), Comment: k.Comment}
}

func createKeyCommand() *cobra.Command {
	comment := ""
	cmd := &cobra.Command{
		Use:   "create FILE",
		Short: "Make a key that signs plugins, and print what agents have to trust",
		Long: `Writes an Ed25519 SSH key into FILE, for nobody else to read, and its public half into FILE.pub. Both are ordinary files
of OpenSSH: ssh-keygen -p -f FILE gives the key a passphrase, and a key of ssh-keygen -t ed25519 can be used as well.
What is there already is left alone.`,
		Example: "  stavily keys create ~/.ssh/stavily-plugins\n  stavily keys create release --comment 'release of example.com'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if comment == "" {
				comment = whoami()
			}
			key, err := bundle.NewKey(comment)
			if err == nil {
				err = key.Save(args[0])
			}
			if err != nil {
				return err
			}
			made := trustOf(key.Key())
			made.File = args[0]
			return tellTrust(cmd, fmt.Sprintf("The private key is in %s, the public one in %[1]s.pub.\n", args[0]), []trust{made})
		},
	}
	cmd.Flags().StringVar(&comment, "comment", "", "`text` that tells people whose key it is (default: user@host)")
	return cmd
}

// whoami is what ssh-keygen takes as comment.
func whoami() string {
	name, host := "somebody", "localhost"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}

func trustKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "trust KEY",
		Short: "Print what makes agents trust a key",
		Long: `Prints the lines for an agent's configuration file that make it take plugins signed by this key. KEY is a file of public
keys, or one such line. The file is yours to change: nothing is written, and nothing is trusted yet. Compare the
fingerprint with the one that whoever has the key tells you.`,
		Example: "  stavily keys trust ~/.ssh/stavily-plugins.pub\n  stavily keys trust 'ssh-ed25519 AAAAC3Nz… release' -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			keys, err := bundle.LoadKeys(args)
			if err != nil {
				return err
			}
			if len(keys) == 0 {
				return errors.New("there is no key in it")
			}
			var out []trust
			for _, k := range keys {
				out = append(out, trustOf(k))
			}
			return tellTrust(cmd, "", out)
		},
	}
}

func tellTrust(cmd *cobra.Command, begin string, keys []trust) error {
	if asJSON(cmd) {
		return showJSON(cmd.OutOrStdout(), keys)
	}
	p := printer{w: cmd.OutOrStdout()}
	p.printf("%s", begin)
	var entries []string
	for _, k := range keys {
		p.printf("\n%s\nfingerprint %s\n", k.Key, k.Fingerprint)
		entries = append(entries, k.Key)
	}
	p.printf("\nIn the configuration file of each agent that is to trust it:\n\nplugins:\n  trusted_keys:\n")
	for _, e := range entries {
		p.printf("    - %s\n", quotedYAML(e))
	}
	return p.err
}
