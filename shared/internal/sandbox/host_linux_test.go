package sandbox

import (
	"testing"
)

// Every level that this kernel can give passes its self-test, and a lower one is taken
// where a higher is not wanted.
func TestProbe(t *testing.T) {
	h := probed(t)
	t.Logf("%+v", h)
	if h.Level != Full {
		t.Errorf("level %s, missing %v", h.Level, h.Missing)
	}
	for _, c := range h.Checks {
		if !c.Passed {
			t.Errorf("%s: %s: %s", c.Level, c.Name, c.Detail)
		}
	}
}
