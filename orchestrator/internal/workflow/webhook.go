package workflow

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/shared/pkg/api"
)

// TypeWebhook is the type of the event of a call of a webhook.
const TypeWebhook = "stavily.webhook"

// Signing is what the sender of a webhook signs with HMAC-SHA256.
type Signing string

// The ways to sign.
const (
	Timestamped Signing = "timestamped" // the time, a dot and the body: an old call is refused
	GitHub      Signing = "github"      // the body alone, as GitHub and Gitea do
)

// Replays: a timestamped call counts for so long before and after its time, by which clocks
// may differ and a call be repeated; one without a time is remembered for so long.
const (
	WebhookWindow = 5 * time.Minute
	WebhookMemory = 30 * 24 * time.Hour
)

// Webhook is a trigger by a signed call from outside.
type Webhook struct {
	Path    string
	Secret  string // its name
	Signing Signing
}

// String identifies what was verified of a call: workflows with the same share its events.
func (h *Webhook) String() string {
	return fmt.Sprintf("%s signed with %s, %s", h.Path, h.Secret, h.Signing)
}

// WebhookCall is a call as it came.
type WebhookCall struct {
	Path      string
	Body      []byte
	Signature string // "sha256=" and hex digits
	Time      string // seconds since 1970; empty where the sender signs none
	Kind      string // what the sender calls it: its header X-GitHub-Event or the like
	Delivery  string // the sender's id of it
	Address   string // it came from
}

// Signing is how the call says that it is signed.
func (c WebhookCall) Signing() Signing {
	if c.Time == "" {
		return GitHub
	}
	return Timestamped
}

// Signed reports whether a value of the secret has signed the call. It takes as long for each
// wrong signature.
func (c WebhookCall) Signed(secret string) bool {
	mac := hmac.New(sha256.New, []byte(secret))
	if c.Time != "" {
		mac.Write([]byte(c.Time + "."))
	}
	mac.Write(c.Body)
	want := "sha256=" + hex.EncodeToString(mac.Sum(nil))
	return subtle.ConstantTimeCompare([]byte(want), []byte(strings.ToLower(c.Signature))) == 1
}

// Until is when a call that is signed is forgotten: until then a repetition is known for one. The error is
// that of a call that is too old, or from the future.
func (c WebhookCall) Until(now time.Time) (time.Time, error) {
	if c.Time == "" {
		return now.Add(WebhookMemory), nil
	}
	seconds, err := strconv.ParseInt(c.Time, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("its time %.40q is no number of seconds since 1970", c.Time)
	}
	at := time.Unix(seconds, 0)
	if off := now.Sub(at); off >= WebhookWindow || off < -WebhookWindow {
		return time.Time{}, fmt.Errorf("its time is %s, and here it is %s: they may differ by %s; send it anew, and set the clocks", at.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339), WebhookWindow)
	}
	return at.Add(WebhookWindow), nil
}

// Mark tells the call from all others.
func (c WebhookCall) Mark() string {
	sum := sha256.Sum256([]byte(c.Path + "\n" + c.Time + "\n" + strings.ToLower(c.Signature)))
	return hex.EncodeToString(sum[:16])
}

// Event is the event of a call that h has verified. Its data are the fields of the body, or
// body where that is no object; of the headers only what is in metadata is kept.
func (h *Webhook) Event(c WebhookCall) (api.Event, error) {
	out := api.Event{Type: TypeWebhook, Source: h.Path, Monitor: h.String(), Severity: api.Low, Data: map[string]json.RawMessage{}}
	var whole json.RawMessage
	switch {
	case len(c.Body) == 0:
	case limits.UnmarshalJSON(c.Body, &out.Data) == nil && out.Data != nil:
	case limits.UnmarshalJSON(c.Body, &whole) == nil:
		out.Data = map[string]json.RawMessage{"body": whole}
	case !utf8.Valid(c.Body):
		return out, fmt.Errorf("the body is neither JSON nor text in UTF-8")
	default:
		text, err := json.Marshal(string(c.Body))
		if err != nil {
			return out, fmt.Errorf("body: %w", err)
		}
		out.Data = map[string]json.RawMessage{"body": text}
	}
	said := map[string]any{"address": c.Address}
	for name, value := range map[string]string{"kind": c.Kind, "delivery": c.Delivery} {
		if value != "" && len(value) <= maxText && utf8.ValidString(value) {
			said[name] = value
		}
	}
	var err error
	out.Metadata, err = objectOf(said)
	return out, err
}

// webhook checks a trigger by a call from outside, and notes the use of its secret.
func (c *checker) webhook(path []any, t trigger) *Webhook {
	path = at(path, "webhook")
	h := &Webhook{Path: t.Webhook.Path, Signing: Timestamped}
	if !dnsLabel.MatchString(h.Path) {
		c.fail(at(path, "path"), "path %q: must be 1 to 63 characters of a-z, 0-9 and '-', for example deploy", h.Path)
	}
	var named bool
	h.Secret, named = strings.CutPrefix(t.Webhook.Secret, "secret:")
	switch err := instruction.CheckSecretName(h.Secret); {
	case !named:
		c.fail(at(path, "secret"), "secret %.80q: must be \"secret:\" and the name of a secret, for example \"secret:deploy-hook\"; its value does not belong here", t.Webhook.Secret)
	case err != nil:
		c.fail(at(path, "secret"), "%v", err)
	default:
		line, column := c.doc.Pos(at(path, "secret"))
		c.def.secrets = append(c.def.secrets, SecretUse{h.Secret, strictyaml.Error{File: c.doc.File(), Line: line, Column: column}})
	}
	if c.doc.Has(at(path, "signature")) {
		if h.Signing = Signing(t.Webhook.Signature); !slices.Contains([]Signing{Timestamped, GitHub}, h.Signing) {
			c.fail(at(path, "signature"), "signature %q: must be timestamped or github", t.Webhook.Signature)
		}
	}
	return h
}
