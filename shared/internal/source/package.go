package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/stavily/agents/shared/pkg/bundle"
)

// Trust says which packages are taken.
type Trust struct {
	Keys bundle.Keys
	// Unsigned takes a package without a signature, or signed by a key that is not among
	// Keys, as the owner of the host may who brings it. Then nobody's key vouches for it.
	Unsigned bool
}

// Packaged is what a package file held.
type Packaged struct {
	Index  bundle.Index
	Signer string // whose key signed it; empty: nobody's
	Digest string // of the file
}

// Package extracts the package in f into the empty directory into, once its signature
// and its index are what was asked for.
func Package(ctx context.Context, f *os.File, trust Trust, want bundle.Want, into string) (Packaged, error) {
	info, err := f.Stat()
	if err != nil {
		return Packaged{}, fmt.Errorf("open package: %w", err)
	}
	if !info.Mode().IsRegular() {
		return Packaged{}, fmt.Errorf("open package %s: is not a file (%s)", f.Name(), info.Mode().Type())
	}
	p, err := bundle.Open(f, info.Size())
	if err != nil {
		return Packaged{}, fmt.Errorf("%s: %w", f.Name(), err)
	}
	out := Packaged{Index: p.Index}
	if p.Signed() || !trust.Unsigned {
		out.Signer, err = p.Verify(trust.Keys)
		if err != nil && !(trust.Unsigned && errors.Is(err, bundle.ErrUntrusted)) {
			return out, err
		}
	}
	if err := p.Check(want); err != nil {
		return out, err
	}
	root, err := os.OpenRoot(into)
	if err != nil {
		return out, fmt.Errorf("extract package: %w", err)
	}
	defer root.Close()
	if err := p.Extract(ctx, root); err != nil {
		return out, err
	}
	out.Digest, err = digestOf(f, info.Size())
	return out, err
}

func digestOf(r io.ReaderAt, size int64) (string, error) {
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(r, 0, size))
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return "", fmt.Errorf("read package: %w", err)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}
