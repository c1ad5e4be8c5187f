package storetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// testShadowed holds that evaluations in shadow come newest first, page by page, also where
// many are of one instant, and those of live workflows not at all.
func testShadowed(f *fixture) {
	f.update(func(tx store.Tx) error {
		for n := range 7 {
			e := sampleEvaluation("x")
			e.Event, e.At = api.EventID(fmt.Sprint("E", n)), start.Add(time.Duration(n/3)*time.Minute)
			e.Shadow = n != 4
			if err := tx.PutEvaluation(e); err != nil {
				return err
			}
		}
		return nil
	})
	pages := func(workflow string, from time.Time) string {
		f.Helper()
		var out []string
		var last store.Evaluation
		for {
			page := read(f, org, func(r store.Reader) ([]store.Evaluation, error) { return r.Shadowed(workflow, from, last, 2) })
			if len(page) == 0 {
				return strings.Join(out, "|")
			}
			last = page[len(page)-1]
			out = append(out, strings.Join(keys(page, func(e store.Evaluation) string { return string(e.Event) }), " "))
		}
	}
	f.equal("all", pages("clean", start), "E6 E5|E3 E2|E1 E0")
	f.equal("from the second minute on", pages("clean", start.Add(time.Minute)), "E6 E5|E3")
	f.equal("of another", pages("other", start), "")
}
