//go:build unix

package agent

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/internal/catalog"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/bundle"
)

// TestHeartbeatsTellWhatIsInUse: a package that was ready and is not in use any more is not
// told as ready, although nothing of the assignment has changed.
func TestHeartbeatsTellWhatIsInUse(t *testing.T) {
	key := newSigner(t)
	keys := filepath.Join(t.TempDir(), "keys")
	write(t, keys, key.Key().Line()+"\n")
	h := newHost(t, api.Action, nil, "STAVILY_PLUGINS_TRUSTED_KEYS="+keys)
	h.rt.assigned = openAssigned(h.rt)
	install := func(version string) Change {
		t.Helper()
		c, err := h.InstallPackage(t.Context(), packageOf(t, key, version, scripted), Packaged{Want: bundle.Want{ID: "tidy"}, From: catalog.Origin{Kind: catalog.FromOrchestrator}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	state := func(want api.PackageState, says string) {
		t.Helper()
		told := h.rt.assigned.list()
		if len(told) != 1 || told[0].State != want || !strings.Contains(told[0].Message, says) {
			t.Errorf("heartbeats tell %+v, want %s because %q", told, want, says)
		}
	}
	c := install("1.0.0")
	digest := "sha256:" + strings.Repeat("0", 64)
	h.rt.assigned.take(api.Assignments{Version: "v", Plugins: []api.AssignedPlugin{
		{ID: "tidy", Version: "1.0.0", Type: "action", Digest: digest, TreeDigest: c.Plugin.Digest, Size: 1, Attempt: 1},
	}})
	h.rt.assigned.follow(t.Context())
	state(api.PackageReady, "")
	install("1.1.0")
	state(api.PackageRolledBack, "another version was taken into use on this host")
	h.rt.assigned.follow(t.Context()) // the attempt is over
	state(api.PackageRolledBack, "another version")
}
