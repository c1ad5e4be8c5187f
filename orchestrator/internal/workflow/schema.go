package workflow

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/stavily/agents/shared/pkg/api"
)

// Schema is the JSON Schema of a document, for editors: the keys that there are, their types,
// and the words that some of them take. It is made from what the parser decodes into. What
// else is wrong with a document only [Parse] says.
func Schema() ([]byte, error) {
	root := objectSchema(reflect.TypeFor[document](), "")
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["$id"] = "https://stavily.dev/workflow.schema.json"
	root["title"] = "Stavily workflow"
	root["required"] = []string{"name", "triggers"}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(root)
	return b.Bytes(), err
}

// words are those that keys take, by their path without the numbers of lists.
var words = map[string][]string{
	"mode":                          {string(Live), string(Shadow), string(Off)},
	"on_failure":                    {string(Continue), string(Stop), string(Undo)},
	"correlate.mode":                {string(All), string(Sequence), string(Count), string(Absent)},
	"limits.attempts.then":          {"escalate"},
	"limits.concurrency.excess":     {string(Queue), string(Drop), string(Replace)},
	"triggers.missed":               {"run_once", "skip"},
	"triggers.on":                   {string(Completed), string(Failed), string(Cancelled), string(Escalated)},
	"triggers.webhook.signature":    {string(Timestamped), string(GitHub)},
	"triggers.manual.inputs.*.type": {"string", "integer", "number", "boolean"},
	"actions.type":                  {api.TypeExecute, api.TypeInstall, api.TypeUpdate, api.TypeRemove},
	"actions.approval.otherwise":    {"approve", "deny"},
	"actions.offline.then":          {"fail", "skip"},
	"outputs.on":                    {string(Completed), string(Failed), string(Escalated), string(ApprovalNeeded)},
	"tests.event.severity":          severities,
	"tests.events.severity":         severities,
	"priority":                      priorities,
	"triggers.agent":                {string(Lost), string(Returned), string(Expiring), string(Degraded)},
	"tests.expect.status":           {string(Completed), string(Failed)},
}

var severities = []string{string(api.Low), string(api.Medium), string(api.High), string(api.Critical)}

// anywhere are words of keys that stand at several places.
var anywhere = map[string][]string{
	"sandbox":       {string(api.SandboxFull), string(api.SandboxConfined), string(api.SandboxLimited), string(api.SandboxNone)},
	"retry.backoff": {"exponential", "constant"},
	"retry.on":      {string(api.Failed), string(api.TimedOut), string(api.Interrupted), string(api.Expired), string(api.Rejected)},
}

// meanings are shown where somebody writes a key at the top.
var meanings = map[string]string{
	"name":        "A DNS label, unique in the organisation.",
	"version":     "A label of yours; the server numbers every applied text itself.",
	"mode":        "live; shadow: decide and execute nothing; off.",
	"priority":    "Of its steps where several wait for an agent: low, normal or high.",
	"variables":   "Values that expressions read as variables.NAME.",
	"triggers":    "Any of them starts it: event, agent, schedule, manual, workflow or webhook.",
	"when":        "A CEL condition over event; a run starts where it is true.",
	"correlate":   "Several events make one.",
	"dedupe":      "The first event of a key counts, the same within the window is dropped.",
	"throttle":    "The first or the last event within a time, or several collected.",
	"cooldown":    "Per sensor and event key, after the last run for it ended.",
	"limits":      "How often, how many at a time, on how many hosts, and when.",
	"actions":     "A graph: needs orders, the rest runs in parallel.",
	"on_failure":  "What follows when an action has failed: continue, stop or undo.",
	"outputs":     "Whom to tell when all actions have ended.",
	"tests":       "Run by stavily workflow test and at each apply.",
	"owner":       "Who answers for it.",
	"runbook":     "Where people read what to do.",
	"description": "What it is for, in a sentence.",
}

func objectSchema(t reflect.Type, path string) map[string]any {
	properties := map[string]any{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if options == "inline" {
			maps.Copy(properties, objectSchema(f.Type, path)["properties"].(map[string]any))
			continue
		}
		s := schemaOf(f.Type, strings.TrimPrefix(path+"."+name, "."))
		if meaning := meanings[name]; path == "" && meaning != "" {
			s["description"] = meaning
		}
		properties[name] = s
	}
	return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
}

func schemaOf(t reflect.Type, path string) map[string]any {
	if t == reflect.TypeFor[yaml.Node]() {
		return map[string]any{}
	}
	switch t.Kind() {
	case reflect.Struct:
		return objectSchema(t, path)
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem(), path+".*")}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem(), path)}
	case reflect.Int:
		return map[string]any{"type": "integer"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	}
	s := map[string]any{"type": "string"}
	if enum := wordsAt(path); enum != nil {
		s["enum"] = enum
	}
	return s
}

func wordsAt(path string) []string {
	for _, suffix := range slices.Sorted(maps.Keys(anywhere)) {
		if path == suffix || strings.HasSuffix(path, "."+suffix) {
			return anywhere[suffix]
		}
	}
	return words[path]
}
