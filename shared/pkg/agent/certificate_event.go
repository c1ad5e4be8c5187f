package agent

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// EventExpiring is the type of the event that a sensor agent makes of its own
// certificate. An action agent has no stream of events: its heartbeats carry the
// condition and the date.
const EventExpiring = "certificate.expiring"

const day = 24 * time.Hour

// expiryMarks are the days before the end at which people are told, each once.
var expiryMarks = []struct {
	days     int
	severity api.Severity
}{{1, api.Critical}, {7, api.High}, {14, api.Medium}, {30, api.Low}}

// expiryTold is what was told last, of which certificate.
type expiryTold struct {
	Serial string `json:"serial"`
	Days   int    `json:"days"`
}

// TakeEvents gives the agent itself a way to report events; accept returns when one is
// on disk.
func (rt *Runtime) TakeEvents(accept func(context.Context, api.Event) error) {
	rt.events.Store(&accept)
}

// warn tells of the mark that was passed last, unless it has been told. A mark in the
// first half of a certificate's life is none: one for a week does not expire for days.
func (r *renewal) warn(ctx context.Context, reason error, left time.Duration) {
	rt, life := r.rt, r.leaf.NotAfter.Sub(r.leaf.NotBefore)
	told := expiryTold{}
	if err := rt.Recall("certificate", &told); err != nil {
		rt.Log.Warn("what was told of the certificate is unknown: it may be told again", telemetry.KeyError, err)
	}
	serial := r.leaf.SerialNumber.Text(16)
	for _, mark := range expiryMarks {
		passed := left <= time.Duration(mark.days)*day && time.Duration(mark.days)*day < life/2
		if !passed {
			continue
		}
		if told.Serial == serial && told.Days <= mark.days {
			return
		}
		if !r.report(ctx, mark.days, mark.severity, reason) {
			return // again at the next try
		}
		if err := rt.Remember("certificate", expiryTold{serial, mark.days}); err != nil {
			rt.Log.Warn("it is not remembered that the end of the certificate was told", telemetry.KeyError, err)
		}
		return
	}
}

// report makes the event and the audit record of a mark.
func (r *renewal) report(ctx context.Context, days int, severity api.Severity, reason error) bool {
	rt, serial := r.rt, r.leaf.SerialNumber.Text(16)
	if accept := rt.events.Load(); accept != nil {
		data := map[string]json.RawMessage{}
		for key, value := range map[string]any{"days": days, "not_after": api.At(r.leaf.NotAfter), "serial": serial, "reason": rt.secrets.Redact(reason.Error())} {
			text, err := json.Marshal(value)
			if err != nil {
				rt.Log.Error("event of the certificate", telemetry.KeyError, err)
				return false
			}
			data[key] = text
		}
		event := api.Event{Type: EventExpiring, Source: rt.Role.Program, Timestamp: api.At(time.Now()), Severity: severity, Data: data, Key: "certificate:" + serial}
		if err := (*accept)(ctx, event); err != nil {
			rt.Log.Warn("the end of the certificate could not be told", telemetry.KeyError, err)
			return false
		}
	}
	rt.Audit.Note(AuditExpiring, slog.String("serial", serial), slog.Time("not_after", r.leaf.NotAfter), slog.Int("days", days), slog.String("reason", reason.Error()))
	return true
}
