package operatorapi

import (
	"context"

	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// followPage is how many values of a stream are read at once.
const followPage = 200

// pages reads the values that come after those it returned last; each call goes on
// from there. last says that there will never be more than these.
type pages[T any] func(r store.Reader) (values []T, last bool, err error)

// follow streams pages: it reads until it has all, then waits for the next change.
// It holds one page, so followers cost no memory however slow they read.
func follow[T any](o operators, org api.OrgID, changed func() <-chan struct{}, next pages[T]) route.Stream {
	return func(ctx context.Context, emit func(any) error) error {
		for {
			change := changed() // before the look, so that nothing falls in between
			var values []T
			var last bool
			err := o.engine.View(ctx, org, func(r store.Reader) (err error) {
				values, last, err = next(r)
				return err
			})
			if err != nil {
				return err
			}
			for _, v := range values {
				if err := emit(v); err != nil {
					return err
				}
			}
			if last {
				return nil
			}
			if len(values) > 0 {
				continue
			}
			select {
			case <-change:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}
