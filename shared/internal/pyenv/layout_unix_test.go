//go:build unix

package pyenv

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stavily/agents/shared/internal/pyenv/wheeltest"
	"github.com/stavily/agents/shared/internal/sandbox"
)

// An agent that runs as root has builds run as the plugins' user. What they made is the
// agent's afterwards: a plugin could else change its own interpreter.
func TestBuildsAsAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	nobody := &sandbox.Credential{UID: 65534, GID: 65534}
	w := newWorkshop(t, func(o *Options) {
		o.User = nobody
		confine := o.Confine
		o.Confine = func(ctx context.Context, s *sandbox.Spec, online bool) (func() error, error) {
			s.User = nobody
			return confine(ctx, s, online)
		}
	})
	p := w.plugin("p", with(t, "one\n", wheeltest.Wheel{Name: "one", Version: "1.0"}))
	i, err := w.Prepare(t.Context(), p, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, w.log)
	}
	err = filepath.WalkDir(filepath.Join(w.o.Dir, i.Environment), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Sys().(*syscall.Stat_t).Uid != 0 {
			t.Errorf("%s is not the agent's", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
