package agent

import (
	"context"
	"log/slog"

	"github.com/stavily/agents/shared/internal/catalog"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// activate makes a version the one that is used, once that is recorded.
func (p *Plugins) activate(ctx context.Context, store *catalog.Store, v catalog.Version, before *plugin.Plugin, load func(context.Context, *plugin.Plugin) error) (*plugin.Plugin, error) {
	loaded := false
	m, err := store.Activate(ctx, v.ID, v.Name, func(ctx context.Context, m *plugin.Plugin) error {
		if load != nil {
			if err := load(ctx, m); err != nil {
				return err
			}
		}
		loaded = true
		was := ""
		if before != nil {
			was = before.Version
		}
		return p.rt.Audit.Record(AuditPluginActivated, append(versionFields(v), slog.String("before", was))...)
	})
	if err != nil && loaded {
		err = hosts(err)
	}
	return m, err
}

// versionFields are what records say of a version, and of where it came from.
func versionFields(v catalog.Version) []slog.Attr {
	return []slog.Attr{
		slog.String("plugin", string(v.ID)), slog.String("version", v.Version), slog.String("digest", v.Digest),
		slog.String("from", string(v.Origin.Kind)), slog.String("place", v.Origin.From), slog.String("revision", v.Origin.Revision),
		slog.String("signer", v.Origin.Signer), slog.String("approved_by", v.Origin.Approved),
	}
}

// noteGoneBack records that a version which failed was replaced. That happens also where
// it cannot be recorded yet: nothing is safer with the one that failed.
func (p *Plugins) noteGoneBack(e catalog.Entry, name, before, why string) {
	v, _ := e.Of(name)
	p.rt.Audit.Note(AuditPluginActivated, append(versionFields(v), slog.String("before", before), slog.String("reason", why))...)
}

// denied records what this host refused, once for each reason: what stands behind it is
// looked at again and again.
func (rt *Runtime) denied(what, name, why string, more ...slog.Attr) {
	key := "denied " + what + " " + name
	if before, told := rt.toldDenied.Swap(key, why); told && before == why {
		return
	}
	rt.Audit.Note(AuditDenied, append([]slog.Attr{slog.String("what", what), slog.String("name", name), slog.String("reason", why)}, more...)...)
}

// admitted forgets what was denied, so that the same is recorded when it comes again.
func (rt *Runtime) admitted(what, name string) { rt.toldDenied.Delete("denied " + what + " " + name) }

// What was denied, in records.
const (
	deniedPlugin     = "plugin"
	deniedPackage    = "assigned_package"
	deniedPermission = "permission"
	deniedMonitor    = "monitor"
	deniedSettings   = "instruction_settings"
	deniedConnection = "connection"
	deniedIdentity   = "certificate"
	deniedCaller     = "control_socket"
)

// auditPosture records that plugins are confined less than they could be.
func (rt *Runtime) auditPosture(p *api.Posture) {
	required := rt.Config().Security.Sandbox.Require
	if lacks := p.Lacks(); len(lacks) > 0 || !p.Satisfies(required) {
		rt.Audit.Note(AuditSandboxDegraded, slog.String("level", p.String()), slog.String("required", string(required)),
			slog.Bool("met", p.Satisfies(required)), slog.Any("lacks", lacks))
	}
}
