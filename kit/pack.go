package kit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/bundle"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// packed is what `pack` and `sign` made, as JSON.
type packed struct {
	File    string `json:"file"`
	Bytes   int64  `json:"bytes"`
	Plugin  string `json:"plugin"`
	Version string `json:"version"`
	Digest  string `json:"digest"` // of the plugin's tree, as agents tell it
	Files   int    `json:"files"`
	Signer  string `json:"signer,omitempty"`
}

// signing are the flags that name a key.
type signing struct {
	key, passphraseFile string
}

func (s *signing) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.key, "key", "", "`file` of the private key that signs: an Ed25519 SSH key, as `stavily keys create` makes it")
	cmd.Flags().StringVar(&s.passphraseFile, "passphrase-file", "", "`file` with the passphrase of the key, where it has one")
}

// maxPassphrase is more than anybody types.
const maxPassphrase = 4 << 10

// signer loads the key, nil where none is named.
func (s *signing) signer() (*bundle.Signer, error) {
	if s.key == "" {
		return nil, nil
	}
	var passphrase func() ([]byte, error)
	if s.passphraseFile != "" {
		passphrase = func() ([]byte, error) {
			text, err := limits.ReadFile(s.passphraseFile, maxPassphrase)
			return bytes.TrimRight(text, "\r\n"), err
		}
	}
	key, err := bundle.LoadKey(s.key, passphrase)
	if errors.Is(err, bundle.ErrPassphrase) && s.passphraseFile == "" {
		return nil, fmt.Errorf("%w: give it with --passphrase-file", err)
	}
	return key, err
}

func packCommand() *cobra.Command {
	var s signing
	file, force := "", false
	cmd := &cobra.Command{
		Use:   "pack DIR",
		Short: "Pack a plugin into one file, which can be signed, published and installed",
		Long: `Writes ID-VERSION.tar.gz into the working directory; where that is in DIR, beside DIR. The same plugin gives the same
bytes. Python requirements that are to be installed without an index stand as wheels in DIR/wheels.`,
		Example: "  stavily plugin pack disk-space --key ~/.ssh/plugins\n  stavily plugin pack . --file /tmp/disk-space.tar.gz -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := s.signer()
			if err != nil {
				return err
			}
			p, _, err := plugin.Load(args[0])
			if err != nil {
				return notValid(args[0], err)
			}
			to, err := placeOf(p, file)
			if err != nil {
				return err
			}
			var index bundle.Index
			size, err := replace(to, force, func(w io.Writer) (err error) {
				index, err = bundle.Pack(w, p.Dir, key)
				return err
			})
			if err != nil {
				return err
			}
			if p.Runtime.Requirements != "" && !exists(filepath.Join(p.Dir, "wheels")) {
				fmt.Fprintf(cmd.ErrOrStderr(), "note: %s has no wheels/ for its %s: agents need an index, or wheels of their own\n", p.ID, p.Runtime.Requirements)
			}
			return tellPacked(cmd, to, size, index, key)
		},
	}
	s.register(cmd)
	cmd.Flags().StringVarP(&file, "file", "f", "", "`file` to write")
	cmd.Flags().BoolVar(&force, "force", false, "replace the file where it is there")
	return cmd
}

func signCommand() *cobra.Command {
	var s signing
	to := ""
	cmd := &cobra.Command{
		Use:   "sign FILE --key KEY",
		Short: "Sign a package, or sign it with another key",
		Long: `Checks all of the package and writes it again with a signature, in the place of any that it has. What it holds stays the
same to the byte.`,
		Example: "  stavily plugin sign disk-space-1.0.0.tar.gz --key ~/.ssh/plugins\n  stavily plugin sign disk-space-1.0.0.tar.gz --key release --file release/disk-space-1.0.0.tar.gz",
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.ExactArgs(1)(cmd, args); err != nil {
				return err
			}
			if s.key == "" {
				return errors.New("--key is required: the private key that signs; `stavily keys create` makes one")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := s.signer()
			if err != nil {
				return err
			}
			f, err := os.Open(args[0])
			if err != nil {
				return fmt.Errorf("sign: %w", err)
			}
			defer f.Close()
			info, err := f.Stat()
			if err != nil {
				return fmt.Errorf("sign: %w", err)
			}
			p, err := bundle.Open(f, info.Size())
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			target, force := to, false
			if target == "" {
				target, force = args[0], true
			}
			size, err := replace(target, force, func(w io.Writer) error { return bundle.Sign(w, p, key) })
			if err != nil {
				return err
			}
			return tellPacked(cmd, target, size, p.Index, key)
		},
	}
	s.register(cmd)
	cmd.Flags().StringVarP(&to, "file", "f", "", "`file` to write instead of changing FILE")
	return cmd
}

// placeOf is where a package goes: never into the plugin, of which it would become a part.
func placeOf(p *plugin.Plugin, file string) (string, error) {
	if file == "" {
		file = fmt.Sprintf("%s-%s.tar.gz", p.ID, p.Version)
		if here, err := filepath.Abs("."); err == nil && within(here, p.Dir) {
			file = filepath.Join(filepath.Dir(p.Dir), file)
		}
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return "", fmt.Errorf("pack: %w", err)
	}
	if real, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		abs = filepath.Join(real, filepath.Base(abs))
	}
	own, err := filepath.EvalSymlinks(p.Dir)
	if err != nil {
		return "", fmt.Errorf("pack: %w", err)
	}
	if within(abs, own) {
		return "", fmt.Errorf("%s is in the plugin's own directory, of which it would become a part: choose another --file", file)
	}
	return file, nil
}

// replace writes a file whole or not at all, and returns its size. Without force it
// changes nothing that is there.
func replace(path string, force bool, write func(io.Writer) error) (size int64, err error) {
	if !force && exists(path) {
		return 0, fmt.Errorf("%s is there already: raise the plugin's version, remove it, or choose another file", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".stavily-*")
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name()) // nothing is left to remove where all went well
	if err = write(f); err == nil {
		size, err = f.Seek(0, io.SeekEnd)
	}
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return 0, fmt.Errorf("write %s: %w", path, err)
	}
	return size, nil
}

func tellPacked(cmd *cobra.Command, file string, size int64, index bundle.Index, key *bundle.Signer) error {
	out := packed{File: file, Bytes: size, Plugin: string(index.ID), Version: index.Version, Digest: index.Digest, Files: len(index.Files)}
	if key != nil {
		out.Signer = key.Key().String()
	}
	if asJSON(cmd) {
		return showJSON(cmd.OutOrStdout(), out)
	}
	p := printer{w: cmd.OutOrStdout()}
	p.printf("%s  %s %s, %s, %s bytes\n%s\n", out.File, out.Plugin, out.Version, counted(out.Files, "file"), thousands(int(size)), out.Digest)
	if out.Signer != "" {
		p.printf("signed by %s\n", out.Signer)
	} else {
		p.printf("not signed: agents take only what a key signed that they trust; see `stavily plugin sign`\n")
	}
	return p.err
}
