package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/stavily/agents/shared/internal/catalog"
	"github.com/stavily/agents/shared/pkg/bundle"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// installFrom installs what stands at a path.
func (p *Plugins) installFrom(ctx context.Context, o installOrder, approved string, say func(string)) (Change, error) {
	if !filepath.IsAbs(o.Path) {
		return Change{}, fmt.Errorf("%q is no absolute path", o.Path)
	}
	info, err := os.Stat(o.Path)
	if errors.Is(err, os.ErrPermission) {
		return Change{}, fmt.Errorf("the agent's user may not read it: copy it to where it may: %w", err)
	}
	if err != nil {
		return Change{}, err
	}
	if info.IsDir() {
		if _, err := os.Stat(filepath.Join(o.Path, plugin.ManifestName)); err != nil {
			return Change{}, fmt.Errorf("%s holds no %s: name the directory of a plugin", o.Path, plugin.ManifestName)
		}
		if !o.AllowUnsigned {
			return Change{}, fmt.Errorf("a directory is not signed: --allow-unsigned installs %s all the same", o.Path)
		}
		return p.installDirectory(ctx, o.Path, approved, say)
	}
	f, err := os.Open(o.Path)
	if err != nil {
		return Change{}, err
	}
	defer f.Close()
	change, err := p.InstallPackage(ctx, f, Packaged{Unsigned: o.AllowUnsigned, From: catalog.Origin{Kind: catalog.FromPackage, From: o.Path, Approved: approved}}, say)
	if errors.Is(err, bundle.ErrUntrusted) || errors.Is(err, bundle.ErrUnsigned) {
		err = fmt.Errorf("%w; --allow-unsigned installs it all the same, which is yours to decide", err)
	}
	return change, err
}
