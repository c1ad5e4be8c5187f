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
			e.Foreseen = []string{"a", "", "b"}[n%3]
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

	later := start.Add(time.Minute)
	for _, c := range []struct {
		workflow string
		from     time.Time
		limit    int
		want     int
	}{{"clean", start, 10, 5}, {"clean", start, 2, 2}, {"clean", later, 10, 3}, {"other", start, 10, 0}} {
		n := read(f, org, func(r store.Reader) (int, error) { return r.ForeseenFrom(c.workflow, c.from, c.limit) })
		f.equal(fmt.Sprintf("foreseen by %s from %v, at most %d", c.workflow, c.from, c.limit), n, c.want)
	}
	ofKey := func(key string, from time.Time, limit int) string {
		all := read(f, org, func(r store.Reader) ([]store.Evaluation, error) { return r.ForeseenOfKey("clean", key, from, limit) })
		return strings.Join(keys(all, func(e store.Evaluation) string { return string(e.Event) }), " ")
	}
	f.equal("of a key", ofKey("a", start, 10), "E6 E3 E0")
	f.equal("of a key, the newest", ofKey("a", start, 2), "E6 E3")
	f.equal("of a key, since", ofKey("b", later, 10), "E5")
	f.equal("of none", ofKey("", start, 10), "")
}
