package account

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func sprint(v any) string { return fmt.Sprintf("%+v", v) }

// TestAWrongNameTakesAsLongAsAWrongPassword holds that the time of an answer does not tell
// who there is. Without the comparison with a decoy a wrong name takes a hundredth.
func TestAWrongNameTakesAsLongAsAWrongPassword(t *testing.T) {
	h := newHasher()
	kept, err := h.hash(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	median := func(kept string) time.Duration {
		var took []time.Duration
		for range 9 {
			begin := time.Now()
			if same, err := h.matches(t.Context(), kept, "wrong"); same || err != nil {
				t.Fatal(same, err)
			}
			took = append(took, time.Since(begin))
		}
		slices.Sort(took)
		return took[len(took)/2]
	}
	known, unknown := median(kept), median("")
	if unknown < known/3 || known < unknown/3 {
		t.Errorf("a wrong password takes %s and a wrong name %s", known, unknown)
	}
	if same, err := h.matches(t.Context(), "", ""); same || err != nil {
		t.Errorf("nobody's password is empty: %v, %v", same, err)
	}
	if same, err := h.matches(t.Context(), kept, good); !same || err != nil {
		t.Errorf("the right password: %v, %v", same, err)
	}
}
