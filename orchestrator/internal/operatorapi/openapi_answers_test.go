package operatorapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TestAnswersFitTheDocument holds real answers of a server against the document that it serves.
func TestAnswersFitTheDocument(t *testing.T) {
	s := busy(t)
	served := get(t, s, "/api/v1/openapi.json", nil)
	doc, err := jsonschema.UnmarshalJSON(served.Body)
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("api.json", doc); err != nil {
		t.Fatal(err)
	}
	run := string(s.Runs()[0].ID)
	for pattern, path := range map[string]string{
		"/api/v1/health": "", "/api/v1/tokens": "", "/api/v1/agents": "", "/api/v1/agents/{id}": "/api/v1/agents/sensor-1",
		"/api/v1/workflows": "", "/api/v1/workflows/{id}": "/api/v1/workflows/clean", "/api/v1/workflows/{id}/versions": "/api/v1/workflows/clean/versions", "/api/v1/workflows/{id}/shadow": "/api/v1/workflows/clean/shadow",
		"/api/v1/runs": "", "/api/v1/runs/{id}": "/api/v1/runs/" + run, "/api/v1/events": "", "/api/v1/events/{id}/explanation": "/api/v1/events/E0/explanation",
		"/api/v1/audit": "", "/api/v1/approvals": "", "/api/v1/plugins": "", "/api/v1/rollouts": "", "/api/v1/publishers": "",
	} {
		if path == "" {
			path = pattern
		}
		schema, err := compiler.Compile("api.json#/paths/" + strings.NewReplacer("/", "~1", "{", "%7B", "}", "%7D").Replace(pattern) + "/get/responses/200/content/application~1json/schema")
		if err != nil {
			t.Fatal(err)
		}
		resp := get(t, s, path, nil)
		value, err := jsonschema.UnmarshalJSON(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s, %v", path, resp.Status, err)
			continue
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	refusal := get(t, s, "/api/v1/runs/none", nil)
	schema, err := compiler.Compile("api.json#/components/schemas/api.ErrorBody")
	if err != nil {
		t.Fatal(err)
	}
	if value, err := jsonschema.UnmarshalJSON(refusal.Body); err != nil || schema.Validate(value) != nil {
		t.Errorf("an error: %v, %v", err, schema.Validate(value))
	}
}
