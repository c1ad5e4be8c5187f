package operatorapi

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/rollout"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// plugins are the handlers about packages, assignments and roll-outs.
func (o operators) plugins() map[route.ID]route.Handler {
	return map[route.ID]route.Handler{
		route.PackagePublish:    o.packagePublish,
		route.PackageList:       o.packageList,
		route.PackageShow:       o.packageShow,
		route.PackageApprove:    o.packageApprove,
		route.PackageRemove:     o.packageRemove,
		route.Assign:            o.assign,
		route.Unassign:          o.unassign,
		route.RolloutList:       o.rolloutList,
		route.RolloutCommand:    o.rolloutCommand,
		route.PublisherTrust:    o.publisherTrust,
		route.PublisherList:     o.publisherList,
		route.PublisherDistrust: o.publisherDistrust,
	}
}

func (o operators) packagePublish(ctx context.Context, c *route.Call) (any, error) {
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	p, fresh, err := o.engine.Publish(ctx, id, c.Upload)
	if err != nil {
		return nil, err
	}
	published := Published{Changed: fresh}
	err = o.engine.View(ctx, id, func(r store.Reader) error {
		if published.PackageDetail, err = viewDetail(r, p); err != nil {
			return err
		}
		published.Rollouts, err = viewRollouts(r, p.ID)
		return err
	})
	return published, err
}

func (o operators) packageList(ctx context.Context, c *route.Call) (any, error) {
	return list(ctx, o, c, func(r store.Reader) ([]store.Package, error) { return r.Packages("") }, viewPackage)
}

func (o operators) packageShow(ctx context.Context, c *route.Call) (any, error) {
	view := Plugin{ID: api.PluginID(c.PathValue("id")), Versions: []PackageDetail{}}
	err := o.read(ctx, c, func(r store.Reader) error {
		published, err := r.Packages(view.ID)
		if err != nil {
			return err
		}
		if len(published) == 0 {
			return store.ErrNotFound
		}
		for _, p := range published {
			view.Type = p.Kind
			detail, err := viewDetail(r, p)
			if err != nil {
				return err
			}
			view.Versions = append(view.Versions, detail)
		}
		view.Rollouts, err = viewRollouts(r, view.ID)
		return err
	})
	return view, err
}

// noVersion tells that the package which the path names is not there.
func noVersion(c *route.Call, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return api.Errorf(api.CodeNotFound, "Version %.80q of plugin %.80q is not published; `stavily plugins list` shows what is.", c.PathValue("version"), c.PathValue("id"))
	}
	return err
}

func (o operators) packageApprove(ctx context.Context, c *route.Call) (any, error) {
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	p, err := o.engine.Approve(ctx, id, api.PluginID(c.PathValue("id")), c.PathValue("version"))
	if err != nil {
		return nil, noVersion(c, err)
	}
	var detail PackageDetail
	err = o.engine.View(ctx, id, func(r store.Reader) (err error) {
		detail, err = viewDetail(r, p)
		return err
	})
	return detail, err
}

func (o operators) packageRemove(ctx context.Context, c *route.Call) (any, error) {
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	return nil, noVersion(c, o.engine.RemovePackage(ctx, id, api.PluginID(c.PathValue("id")), c.PathValue("version")))
}

func (o operators) assign(ctx context.Context, c *route.Call) (any, error) {
	var r AssignRequest
	if err := c.Decode(&r); err != nil {
		return nil, err
	}
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	a, err := o.engine.Assign(ctx, id, engine.AssignSpec{
		Plugin: api.PluginID(c.PathValue("id")), Range: r.Range, Selector: store.Selector(r.Selector),
		Plan: rollout.Plan{Settle: seconds(r.SettleSeconds), Deadline: seconds(r.DeadlineSeconds), AtOnce: r.AtOnce},
	})
	if err != nil {
		return nil, err
	}
	var view Assigned
	err = o.engine.View(ctx, id, func(r store.Reader) error {
		rollouts, err := viewRollouts(r, a.Plugin)
		if err != nil {
			return err
		}
		for _, one := range rollouts {
			if one.Selector == string(a.Selector) {
				view.Rollout = one
			}
		}
		if view.Warnings, err = nobodyYet(r, a); err != nil {
			return err
		}
		p, err := r.Package(a.Plugin, cmp.Or(view.Target, view.Version, view.Skipped))
		if err != nil {
			return err
		}
		view.Package, err = viewDetail(r, p)
		return err
	})
	return view, err
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

func (o operators) unassign(ctx context.Context, c *route.Call) (any, error) {
	var r UnassignRequest
	if err := c.Decode(&r); err != nil {
		return nil, err
	}
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	err = o.engine.Unassign(ctx, id, api.PluginID(c.PathValue("id")), store.Selector(r.Selector))
	if errors.Is(err, store.ErrNotFound) {
		err = api.Errorf(api.CodeNotFound, "Plugin %.80s is not assigned to %.80q; `stavily plugins show` has its assignments.", c.PathValue("id"), r.Selector)
	}
	return nil, err
}

func (o operators) rolloutList(ctx context.Context, c *route.Call) (any, error) {
	rollouts := []Rollout{}
	err := o.read(ctx, c, func(r store.Reader) (err error) {
		rollouts, err = viewRollouts(r, api.PluginID(c.Query.Get("plugin")))
		return err
	})
	return rollouts, err
}

func (o operators) rolloutCommand(ctx context.Context, c *route.Call) (any, error) {
	var r RolloutRequest
	if err := c.Decode(&r); err != nil {
		return nil, err
	}
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	a, err := o.engine.Rollout(ctx, id, api.PluginID(c.PathValue("id")), store.Selector(r.Selector), rollout.Command(r.Command))
	if err != nil {
		return nil, err
	}
	var rollouts []Rollout
	err = o.engine.View(ctx, id, func(r store.Reader) (err error) {
		rollouts, err = viewRollouts(r, a.Plugin)
		return err
	})
	if i := slices.IndexFunc(rollouts, func(one Rollout) bool { return one.Selector == string(a.Selector) }); err == nil && i >= 0 {
		return rollouts[i], nil
	}
	return nil, err
}

func (o operators) publisherTrust(ctx context.Context, c *route.Call) (any, error) {
	var r TrustRequest
	if err := c.Decode(&r); err != nil {
		return nil, err
	}
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	added, err := o.engine.Trust(ctx, id, r.Keys)
	views := []Publisher{}
	for _, p := range added {
		views = append(views, viewPublisher(p))
	}
	return views, err
}

func (o operators) publisherList(ctx context.Context, c *route.Call) (any, error) {
	return list(ctx, o, c, store.Reader.Publishers, viewPublisher)
}

func (o operators) publisherDistrust(ctx context.Context, c *route.Call) (any, error) {
	var r DistrustRequest
	if err := c.Decode(&r); err != nil {
		return nil, err
	}
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	err = o.engine.Distrust(ctx, id, r.Fingerprint)
	if errors.Is(err, store.ErrNotFound) {
		err = api.Errorf(api.CodeNotFound, "No key %.80q is trusted; `stavily plugins publishers` lists those that are.", r.Fingerprint)
	}
	return nil, err
}
