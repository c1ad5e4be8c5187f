package workflow

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

const hooked = `name: w
triggers:
  - webhook: {path: deploy, secret: "secret:deploy-hook"}
  - event: a
when: event.data.ref == "main"
actions: [{plugin: p, agents: {any: {tags: [x]}}, with: {who: "${{ event.metadata.kind }}"}}]
tests:
  - {name: main, event: {type: stavily.webhook, data: {ref: main}, metadata: {kind: push}}, expect: {runs: true, with: {p: {who: push}}}}
  - {name: another, event: {type: stavily.webhook, data: {ref: x}}, expect: {runs: false}}
  - {name: of another path, event: {type: stavily.webhook, source: other, data: {ref: main}}, expect: {runs: false}}
`

func TestWebhooksInTheLanguage(t *testing.T) {
	d := parse(t, hooked)
	if _, err := d.TryAll(t.Context()); err != nil {
		t.Error(err)
	}
	if got := *d.Triggers[0].Webhook; got != (Webhook{"deploy", "deploy-hook", Timestamped}) {
		t.Errorf("%+v", got)
	}
	if uses := d.Secrets(); len(uses) != 1 || !strings.Contains(uses[0].Missing().Error(), "w.yaml:3:37: there is no secret \"deploy-hook\"") {
		t.Errorf("uses %+v: %v", uses, uses[0].Missing())
	}
	for said, want := range map[string]string{
		`{path: Deploy, secret: "secret:a"}`:                `f:2:29: path "Deploy": must be`,
		`{path: deploy, secret: hunter2}`:                   `f:2:45: secret "hunter2": must be "secret:" and the name of a secret`,
		`{path: deploy, secret: "secret:a b"}`:              `secret name "a b"`,
		`{path: deploy}`:                                    `secret "": must be "secret:"`,
		`{path: d, secret: "secret:a", signature: gitlb}`:   `signature "gitlb": must be timestamped or github`,
		`{path: d, secret: "secret:a"}, schedule: "@daily"`: `a trigger is by one of event, agent, schedule, manual, workflow, webhook, and this one by`,
	} {
		_, err := Parse("f", []byte("name: w\ntriggers: [{webhook: "+said+"}]\noutputs: [{plugin: p}]"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", said, err, want)
		}
	}
	_, err := Parse("f", []byte("name: w\ntriggers: [{webhook: {path: d, secret: \"secret:a\"}}]\nactions: [{plugin: p}]"))
	if err == nil || !strings.Contains(err.Error(), "a run by webhook d has none") {
		t.Errorf("on the host of no sensor: %v", err)
	}
}

// The first is the example of GitHub's own page about signatures.
func TestSignatures(t *testing.T) {
	github := WebhookCall{Body: []byte("Hello, World!"), Signature: "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}
	if !github.Signed("It's a Secret to Everybody") || github.Signing() != GitHub {
		t.Error("what GitHub has signed is not taken")
	}
	ours := github
	ours.Time = "1767268800" // printf '%s' '1767268800.Hello, World!' | openssl dgst -sha256 -hmac "It's a Secret to Everybody"
	if ours.Signed("It's a Secret to Everybody") || ours.Signing() != Timestamped {
		t.Error("the time is not signed")
	}
	ours.Signature = "sha256=e044e4568d86fa43581bb5362137650d7d46f04663feafb1300a5da2c9e7ceac"
	if !ours.Signed("It's a Secret to Everybody") {
		t.Error("what is signed with a time is not taken")
	}
	for n := range ours.Signature {
		wrong := github
		wrong.Signature = github.Signature[:n] + "~" + github.Signature[n+1:]
		if wrong.Signed("It's a Secret to Everybody") || github.Mark() == wrong.Mark() {
			t.Errorf("a signature with another byte %d is taken", n)
		}
	}
	for _, none := range []string{"", "sha256=", "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17", "sha1=" + github.Signature[7:]} {
		github.Signature = none
		if github.Signed("It's a Secret to Everybody") {
			t.Errorf("%q is taken", none)
		}
	}
}

func TestCallsHaveTheirTime(t *testing.T) {
	now := time.Unix(1_767_268_800, 0)
	for said, good := range map[string]bool{
		"1767268800": true, "1767268501": true, "1767269100": true,
		"1767268500": false, "1767269101": false, "0": false, "-1": false, "1e9": false, "9223372036854775807": false, "99999999999999999999": false,
	} {
		until, err := WebhookCall{Time: said}.Until(now)
		if (err == nil) != good || good && until.Before(now) {
			t.Errorf("%s: until %s, %v", said, until, err)
		}
	}
	if until, err := (WebhookCall{}).Until(now); err != nil || until != now.Add(WebhookMemory) {
		t.Errorf("without a time: until %s, %v", until, err)
	}
}

func TestWhatIsKeptOfACall(t *testing.T) {
	h := &Webhook{"deploy", "s", GitHub}
	for body, want := range map[string]string{
		`{"ref": "main", "n": [1]}`: `{"n":[1],"ref":"main"}`, `[1, 2]`: `{"body":[1,2]}`, `null`: `{"body":null}`, "": `{}`, "a=b": `{"body":"a=b"}`,
		strings.Repeat("[", 300): `{"body":"` + strings.Repeat("[", 300) + `"}`,
	} {
		e, err := h.Event(WebhookCall{Body: []byte(body), Kind: "push", Delivery: "\xff", Address: "192.0.2.1"})
		data, _ := json.Marshal(e.Data)
		meta, _ := json.Marshal(e.Metadata)
		if err != nil || string(data) != want || string(meta) != `{"address":"192.0.2.1","kind":"push"}` {
			t.Errorf("%.20q: %s %s, %v; want %s", body, data, meta, err, want)
		}
	}
	if _, err := h.Event(WebhookCall{Body: []byte("\xff")}); err == nil {
		t.Error("bytes that are no text are taken")
	}
}
