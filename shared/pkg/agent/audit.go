package agent

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/audit"
	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// AuditLog is the agent's record of what it was told, did and refused. Record returns
// when the record is durable; after an error, what it tells of must not happen. Begin
// does it in two steps. Note is for what has happened already.
type AuditLog = audit.Log

// What is recorded (docs/audit.md lists the fields of each).
const (
	AuditStarted              audit.Kind = "agent_started"
	AuditStopped              audit.Kind = "agent_stopped"
	AuditEnrolled             audit.Kind = "enrolled" // a certificate that was not used before
	AuditRenewed              audit.Kind = "certificate_renewed"
	AuditToken                audit.Kind = "jwt_authentication" // a token stands for the certificate
	AuditTokenRefreshed       audit.Kind = "token_refreshed"
	AuditTrusted              audit.Kind = "authorities_changed" // the CAs that may vouch for the orchestrator
	AuditExpiring             audit.Kind = "certificate_expiring"
	AuditMonitors             audit.Kind = "monitors_changed"
	AuditConfigured           audit.Kind = "configuration_changed"
	AuditConfigurationRefused audit.Kind = "configuration_refused"
	AuditPluginActivated      audit.Kind = "plugin_activated"
	AuditPluginRemoved        audit.Kind = "plugin_removed"
	AuditPluginSwitched       audit.Kind = "plugin_switched" // enabled or disabled
	AuditAccepted             audit.Kind = "instruction_accepted"
	AuditRun                  audit.Kind = "instruction_started"
	AuditEnded                audit.Kind = "instruction_ended"
	AuditDenied               audit.Kind = "denied"
	AuditSandboxDegraded      audit.Kind = "sandbox_degraded"
	AuditFileChanged          audit.Kind = "file_changed" // by somebody else than this agent
)

// conditionAudit holds while nothing can be recorded, and no new work is begun.
const conditionAudit = "audit"

// auditRetry is how soon a log that could not be written is tried again.
const auditRetry = time.Second

func (rt *Runtime) openAudit() {
	if !rt.Config().Security.Audit.Enabled {
		rt.Log.Warn("nothing is audited: security.audit.enabled is false")
		return
	}
	rt.Audit = audit.Open(rt.Config().Security.Audit.File, audit.Options{Redact: rt.secrets.Redact, Changed: rt.auditChanged})
	rt.Audit.Note(AuditStarted,
		slog.String("program", rt.Role.Program), slog.String("version", api.Version), slog.String("boot_id", rt.BootID),
		slog.Int("pid", os.Getpid()), slog.Int("uid", os.Geteuid()), slog.String("base_dir", rt.Config().Agent.BaseDir), slog.String("config", rt.file))
}

// closeAudit tells the log's last record besides where people keep the service's output:
// who cuts off the end of the file does not reach that.
func (rt *Runtime) closeAudit() error {
	if rt.Audit == nil {
		return nil
	}
	rt.Audit.Note(AuditStopped, slog.String("boot_id", rt.BootID))
	err := rt.Audit.Close()
	head := rt.Audit.Head()
	rt.Log.Info("audit log closed", "seq", head.Seq, "hash", head.Hash)
	return err
}

// auditChanged hears when the log can be written, or can not.
func (rt *Runtime) auditChanged(err error) {
	if err == nil {
		rt.Health.Clear(conditionAudit)
		rt.Log.Info("the audit log is written again")
		return
	}
	if errors.Is(err, audit.ErrBroken) {
		rt.Fail(err)
	}
	rt.Health.Set(conditionAudit, Degraded, true, err.Error(), "free disk space, or correct what is said of the file: it is tried again by itself; until then no instruction is begun and nothing is changed")
	rt.Log.Error("the audit log cannot be written: no new work is begun", telemetry.KeyError, err)
	rt.BeatSoon()
	select {
	case rt.unaudited <- struct{}{}:
	default:
	}
}

// mendAudit tries a log that cannot be written until it can: there may be nothing to record for
// long, and what was recorded meanwhile is only in memory.
func (rt *Runtime) mendAudit(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-rt.unaudited:
			_ = rt.AwaitAudit(ctx) // an error is that ctx ended
		}
	}
}

// AwaitAudit returns when records can be written: who is about to ask for work that
// could not be recorded waits here. The error is that of ctx.
func (rt *Runtime) AwaitAudit(ctx context.Context) error {
	return rt.untilAudited(ctx, rt.Audit.Ready)
}

func (rt *Runtime) untilAudited(ctx context.Context, record func() error) error {
	for record() != nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(auditRetry):
		}
	}
	return nil
}

// maxIdentityFile bounds the file that names the certificate that was recorded last.
const maxIdentityFile = 1 << 10

// auditIdentity records a certificate that this agent has not used before, before it is
// used.
func (rt *Runtime) auditIdentity(ctx context.Context, creds *pki.Credentials) error {
	if rt.Audit == nil {
		return nil
	}
	if creds.Leaf() == nil {
		return rt.untilAudited(ctx, func() error {
			is := creds.Identity()
			_, end := creds.Life()
			return rt.Audit.Record(AuditToken, slog.String("organization", string(is.Org)), slog.String("agent", string(is.Agent)), slog.Time("not_after", end))
		})
	}
	fingerprint := certificateFingerprint(creds.Leaf())
	if known, err := limits.ReadFile(rt.identityFile(), maxIdentityFile); err == nil && strings.TrimSpace(string(known)) == fingerprint {
		return nil
	}
	err := rt.untilAudited(ctx, func() error {
		return rt.Audit.Record(AuditEnrolled, certificateFields(creds.Leaf(), creds.Identity())...)
	})
	if err != nil {
		return err
	}
	rt.noteCertificate(creds.Leaf())
	return nil
}

// noteCertificate keeps which certificate was recorded, so that the next start does not
// record it again.
func (rt *Runtime) noteCertificate(leaf *x509.Certificate) {
	if err := atomicfile.Write(rt.identityFile(), []byte(certificateFingerprint(leaf)+"\n"), 0o600); err != nil {
		rt.Log.Warn("which certificate was recorded is not kept: it is recorded again at the next start", telemetry.KeyError, err)
	}
}

func (rt *Runtime) identityFile() string {
	return filepath.Join(rt.Config().Agent.BaseDir, stateDir, "certificate.sha256")
}

func certificateFingerprint(leaf *x509.Certificate) string {
	sum := sha256.Sum256(leaf.Raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// certificateFields are what records say of a certificate.
func certificateFields(leaf *x509.Certificate, is pki.Identity) []slog.Attr {
	return []slog.Attr{
		slog.String("organization", string(is.Org)), slog.String("agent", string(is.Agent)),
		slog.String("certificate", certificateFingerprint(leaf)), slog.String("serial", leaf.SerialNumber.Text(16)),
		slog.Time("not_after", leaf.NotAfter), slog.String("issuer", leaf.Issuer.String()),
	}
}

// ParametersDigest is what records say of an instruction's parameters instead of their
// values: the SHA-256 of what the orchestrator sent, as compact JSON.
func ParametersDigest(i *api.Instruction) string {
	text, err := json.Marshal(map[string]any{"input_data": i.InputData, "variables": i.Variables, "plugin_configuration": i.PluginConfiguration})
	if err != nil { // it came as JSON
		return fmt.Sprintf("unknown: %v", err)
	}
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}
