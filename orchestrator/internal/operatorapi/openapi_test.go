package operatorapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/shared/pkg/api"
)

// TestOpenAPI holds that the document that is served is that of the table of routes and of
// the Go types, and a valid one.
func TestOpenAPI(t *testing.T) {
	text := documentOf(t)
	if *update {
		if err := os.WriteFile("openapi.json", text, 0o644); err != nil {
			t.Fatal(err)
		}
		OpenAPI = text
	}
	if diff := cmp.Diff(strings.Split(string(OpenAPI), "\n"), strings.Split(string(text), "\n")); diff != "" {
		t.Errorf("openapi.json is not what the routes and types say; run this test with -update (-openapi.json +Go):\n%s", diff)
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Error(err)
	}
	for _, row := range route.Table() {
		if !inDocument(row) {
			continue
		}
		item := doc.Paths.Value(row.Pattern)
		if item == nil || item.GetOperation(row.Method) == nil {
			t.Errorf("%s %s is served and not in the document", row.Method, row.Pattern)
		}
	}
}

// inDocument reports whether a row is of this API: not the agents', and no page.
func inDocument(row route.Row) bool { return strings.HasPrefix(row.Pattern, "/api/v1/") }

type object = map[string]any

// documentOf makes the OpenAPI document.
func documentOf(t *testing.T) []byte {
	t.Helper()
	s := &schemas{t: t, made: object{}, sources: map[string]*source{}}
	paths := object{}
	for _, row := range route.Table() {
		if !inDocument(row) {
			continue
		}
		op, ok := operationOf(row.ID)
		if !ok {
			t.Errorf("route %s has no operation; add one to operations.go", row.ID)
			continue
		}
		item, _ := paths[row.Pattern].(object)
		if item == nil {
			item = object{}
			paths[row.Pattern] = item
		}
		item[strings.ToLower(row.Method)] = s.operation(row, op)
	}
	refused := object{"description": "It was refused or failed; nothing has changed.", "content": object{"application/json": object{"schema": s.of(reflect.TypeFor[api.ErrorBody]())}}}
	doc := object{
		"openapi": "3.1.0",
		"info": object{"title": "Stavily Operator API", "version": "1", "license": object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
			"description": about},
		"servers":  []any{object{"url": "/", "description": "the operator socket in the server's data directory"}},
		"paths":    paths,
		"security": []any{object{}, object{"token": []any{}}, object{"session": []any{}}},
		"components": object{"schemas": s.made, "responses": object{"Refused": refused}, "securitySchemes": object{
			"token":   object{"type": "http", "scheme": "bearer", "description": "an API token; `stavily api-tokens create` makes one"},
			"session": object{"type": "apiKey", "in": "cookie", "name": "__Host-stavily"},
		}},
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// about is what the document says of all its routes.
const about = `The API for the people who run the orchestrator, which the command line and the dashboard use too.

**Fields** may be added; a reader ignores those that it does not know. Names and states never change their meaning.

**Times** are RFC 3339 with milliseconds, UTC; null means none.

**Lists** are arrays. Those that have the parameter cursor come in pages: the header Link has the address of the next
page with rel="next", and no such header means that there is none. A page can be shorter than its limit, or empty, and
still have a next one, where a filter let little through.

**Streams** are newline-delimited JSON, or server-sent events for who asks with Accept: text/event-stream: data is
what a line would be, id goes into Last-Event-ID to go on after it, and the event "end" says that nothing will follow.

**Entity tags.** Answers to GET that are one document have an ETag; If-None-Match with it gets 304 for what has not
changed. A workflow is applied over a version that the caller has seen with If-Match.

**Who may.** Whoever opens the operator socket in the server's data directory, in every organisation. On the web
listener: browsers with the cookie of a session, and programs with an API token in Authorization: Bearer, in the
organisation of the user; x-role is the least role that a route asks for.`

var inPath = regexp.MustCompile(`\{(\w+)\}`)

func (s *schemas) operation(row route.Row, op operation) object {
	parameters := []any{}
	for _, m := range inPath.FindAllStringSubmatch(row.Pattern, -1) {
		parameters = append(parameters, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	for _, p := range append(op.query, paramOrg) {
		schema := object{"type": p.kind}
		if values := op.oneOf[p.name]; values != nil {
			schema["enum"] = values
		}
		parameters = append(parameters, object{"name": p.name, "in": "query", "description": p.about, "schema": schema})
	}
	for _, p := range op.header {
		parameters = append(parameters, object{"name": p.name, "in": "header", "description": p.about, "schema": object{"type": p.kind}})
	}
	out := object{
		"operationId": row.ID.String(), "tags": []any{op.tag}, "summary": op.about, "parameters": parameters,
		"responses": object{"default": object{"$ref": "#/components/responses/Refused"}},
	}
	switch {
	case op.takes == upload{}:
		out["requestBody"] = object{"required": true, "content": object{"application/gzip": object{"schema": object{}}}}
	case op.takes != nil:
		out["requestBody"] = object{"required": true, "content": object{"application/json": object{"schema": s.of(reflect.TypeOf(op.takes))}}}
	}
	if row.Role != account.Nobody {
		out["x-role"] = string(row.Role)
	} else {
		out["security"] = []any{}
	}
	responses := out["responses"].(object)
	if op.gives == nil {
		responses["204"] = object{"description": "Done."}
		return out
	}
	if op.gives == (download{}) {
		responses["200"] = object{"description": "Done.", "content": object{"application/octet-stream": object{"schema": object{}}}}
		return out
	}
	schema := s.of(reflect.TypeOf(op.gives))
	content := object{"application/json": object{"schema": schema}}
	if op.stream {
		content = object{"application/x-ndjson": object{"schema": schema}, "text/event-stream": object{"schema": object{"type": "string"}}}
	}
	answer := object{"description": "Done.", "content": content}
	headers := object{}
	if row.Method == http.MethodGet && !op.stream {
		headers["ETag"] = object{"description": "names what the answer says", "schema": object{"type": "string"}}
		responses["304"] = object{"description": "The client has it: If-None-Match names it."}
	}
	if slices.Contains(op.query, paramCursor) {
		headers["Link"] = object{"description": "rel=\"next\": the next page, if there is one", "schema": object{"type": "string"}}
	}
	if len(headers) > 0 {
		answer["headers"] = headers
	}
	responses["200"] = answer
	return out
}
