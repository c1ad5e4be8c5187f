package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// TestCostOfActivation prints how long it takes from the order to use another installed
// version until that version has answered, all in the sandbox: it is started once to see
// whether it loads, the link is renamed, and a run is carried out. It runs where `make
// bench-plugins` asks for it.
func TestCostOfActivation(t *testing.T) {
	if os.Getenv("STAVILY_BENCH") == "" {
		t.Skip("run by make bench-plugins")
	}
	rounds, err := strconv.Atoi(os.Getenv("STAVILY_BENCH_ROUNDS"))
	if err != nil {
		rounds = 50
	}
	h := newHost(t, api.Action, nil)
	for _, version := range []string{"1.0.0", "2.0.0"} {
		if _, err := h.Install(t.Context(), h.aside("id: q\nversion: "+version+"\ntype: action\nruntime: {type: python, entry_point: main.py, contract: stdio}\n", sdkSays(version)), originOfTest, nil); err != nil {
			t.Fatal(err)
		}
		if err := h.store.Prove("q"); err != nil { // a version that is good is kept
			t.Fatal(err)
		}
	}
	e := h.store.Entry("q")
	var load, answer, whole []float64
	for i := range rounds {
		v := e.Versions[i%2]
		begin := time.Now()
		if _, err := h.reactivate(t.Context(), v); err != nil {
			t.Fatal(err)
		}
		swapped := time.Now()
		if got := h.answers("q"); got != `"`+v.Version+`"` {
			t.Fatalf("%s answers %s", v.Version, got)
		}
		end := time.Now()
		load, answer, whole = append(load, ms(swapped.Sub(begin))), append(answer, ms(end.Sub(swapped))), append(whole, ms(end.Sub(begin)))
	}
	h.collect()
	trees, err := filepath.Glob(filepath.Join(h.base, "data", "plugins", "q", "*-*"))
	left := names(t, filepath.Join(h.base, "tmp"))
	if err != nil || len(trees) != 2 || len(left) > 0 {
		t.Errorf("left are versions %v and %v in tmp, %v", trees, left, err)
	}
	result := map[string]any{
		"level": h.Posture().Level, "rounds": rounds, "load_and_swap_ms": median(load), "first_answer_ms": median(answer),
		"activation_ms": median(whole), "activation_p90_ms": percentile(whole, 90),
	}
	fmt.Printf("activation of an installed version at level %s, median of %d: load and swap %.0f ms, first answer %.0f ms, together %.0f ms\n",
		h.Posture().Level, rounds, median(load), median(answer), median(whole))
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		t.Fatal(err)
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func median(values []float64) float64 { return percentile(values, 50) }

func percentile(values []float64, p int) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)*p/100, len(sorted)-1)]
}
