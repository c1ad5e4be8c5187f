package deployments

import (
	"testing"

	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
)

// What `helm lint --strict` would say.
func TestChartIsLinted(t *testing.T) {
	for _, m := range lint.All("../../deployments/helm/stavily", map[string]any{}, "stavily-agents", true).Messages {
		if m.Severity > support.InfoSev {
			t.Errorf("%s: %v", m.Path, m.Err)
		}
	}
}
