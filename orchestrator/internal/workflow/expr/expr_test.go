package expr

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/internal/limits"
)

var variables = map[string]any{"limit": int64(90), "ratio": 0.5, "paths": []any{"/var"}, "names": map[string]any{"a": "b"}, "nothing": nil}

// values is an event of a full disk after the step clean has run.
func values(t testing.TB, data string) Values {
	t.Helper()
	decoded, err := Decode([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	event := map[string]any{
		"id": "e1", "type": "disk.space.high", "source": "disk", "monitor": "root", "severity": "high",
		"timestamp": time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), "key": "/", "tags": []string{"prod"},
		"data": decoded, "metadata": map[string]any{},
		"agent": map[string]any{"id": "web-1", "name": "", "host": "web-1.example", "tags": []string{}},
	}
	return Values{
		Event: event, Trigger: event, Variables: variables,
		Workflow: map[string]any{"name": "w", "version": ""},
		Run:      map[string]any{"id": "r1", "status": "running", "error": ""},
		Steps: func() any {
			return map[string]any{
				"clean":        map[string]any{"status": "completed", "result": map[string]any{"freed": int64(10)}, "error": ""},
				"disk-cleaner": map[string]any{"status": "skipped", "result": nil, "error": ""},
			}
		},
	}
}

const fullDisk = `{"percent": 97, "load": 1.5, "mount": "/", "items": [1, 2.5, "x"], "deep": {"a": {"b": true}}}`

var scope = Scope{Ended: []string{"clean", "disk-cleaner"}, Steps: []string{"clean", "disk-cleaner", "after"}}

func compile(t testing.TB, source string) *Program {
	t.Helper()
	env, err := NewEnv(variables, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, problems := env.Compile(source, scope)
	if problems != nil {
		t.Fatalf("Compile(%q): %v", source, problems)
	}
	return p
}

func TestEval(t *testing.T) {
	for _, c := range []struct{ source, want string }{
		{`event.data.percent >= variables.limit`, `true`},
		{`event.data.percent > 96.5`, `true`}, // int against double
		{`event.data.load * 2.0`, `3.0`},
		{`double(event.data.percent) * variables.ratio`, `48.5`},
		{`!(event.data.mount in ["/boot"])`, `true`},
		{`event == trigger`, `true`},
		{`event.agent.host + ":" + event.key`, `"web-1.example:/"`},
		{`event.timestamp > timestamp("2026-01-01T00:00:00Z")`, `true`},
		{`event.timestamp + duration("90m")`, `"2026-01-02T04:34:05Z"`},
		{`duration("90m")`, `"5400s"`},
		{`event.data.items`, `[1,2.5,"x"]`},
		{`event.data.deep`, `{"a":{"b":true}}`},
		{`{"z": 1, "a": [b"hi", null, 2u]}`, `{"a":["aGk=",null,2],"z":1}`},
		{`event.tags.exists(x, x.startsWith("pr"))`, `true`},
		{`event.tags.all(x, x == "prod")`, `true`},
		{`has(event.data.absent) || has(event.monitor)`, `true`},
		{`has(event.agent.name) || has(steps["disk-cleaner"].result)`, `false`},
		{`steps.clean.result.freed`, `10`},
		{"steps.`disk-cleaner`.status + steps['disk-cleaner'].error", `"skipped"`},
		{`variables.names.a + variables.paths[0]`, `"b/var"`},
		{`event.data.absent == 1 && false`, `false`}, // && is decided by either side
		{`size(event.data.mount) + size(event.data.items)`, `4`},
		{`run.status + workflow.name`, `"runningw"`},
	} {
		v, err := compile(t, c.source).Eval(values(t, fullDisk))
		if err != nil {
			t.Errorf("%s: %v", c.source, err)
			continue
		}
		if got, err := v.AppendJSON(nil, 1000); err != nil || string(got) != c.want {
			t.Errorf("%s = %s, %v; want %s", c.source, got, err, c.want)
		}
	}
}

func TestMistakesInASource(t *testing.T) {
	env, err := NewEnv(variables, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ source, want string }{
		{` `, `0: is empty: write an expression or leave it out`},
		{`${{ true }}`, `0: is an expression already: write it without ${{ }}`},
		{`1 +`, `3: ends in the middle of an expression`},
		{`event.id = "x"`, `9: "=" is written "==" here`},
		{`event.id == "x" and true`, `16: "and" is written "&&" here`},
		{`event.id == "x`, `12: the text that begins here has no closing quote`},
		{`1 2`, `2: unexpected "2"`},
		{`evnt.id`, `0: unknown name "evnt": did you mean "event"?`},
		{`secrets.token`, `0: secrets cannot be read here: only values of with hold them`},
		{`event.percent > 1`, `6: event has no field "percent": what the plugin sent is in event.data`},
		{`event.severty`, `6: event has no field "severty": did you mean "severity"?`},
		{`event.agent.hst`, `12: event.agent has no field "hst": did you mean "host"?`},
		{`steps.clean.state`, `12: steps.clean has no field "state": did you mean "status"?`},
		{`variables.limt`, `10: unknown variable "limt": did you mean "limit"?`},
		{`variables.zz`, `10: unknown variable "zz": there is limit, names, nothing, paths, ratio`},
		{`event.id.size.x`, `9: string has no fields`},
		{`event.id > 1`, `9: > does not take (string, int)`},
		{"event.agent\n  > 1", `14: > does not take (an agent, int)`},
		{`variables.limit * 1.5`, `16: * does not take (int, double)`},
		{`true ? 1 : "x"`, `5: ?: does not take (bool, int, string)`},
		{`google.protobuf.Nope{}`, `unknown name "google.protobuf.Nope"`},
		{`event.id["x"]`, `8: […] does not take (string, string)`},
		{`event.id.exists(x, true)`, `5: exists and all take a list or a map, not string`},
		{`foo(1)`, `3: unknown function "foo"`},
		{`event.tags.map(x, x + "!")`, `14: map is not available: use exists or all, or compute it in a plugin`},
		{`event.id.matches("(")`, `17: invalid matches argument`},
		{`event.id.matches("(a{20}){30}")`, `17: regex program size 662 exceeds limit of 500`},
		{`steps.after.status`, `6: step "after" may not have ended here: name it in needs`},
		{`steps.claen.status`, `6: unknown step "claen": did you mean "clean"?`},
		{`steps["nope"].status`, `6: unknown step "nope": there is clean, disk-cleaner, after`},
		{`steps.disk - 1`, `6: unknown step "disk": an id with a dash is written steps["disk-cleaner"]`},
		{`steps[event.key].status`, `0: steps must be followed by the id of one step: steps.clean or steps["disk-cleaner"]`},
		{`event.tags.exists(event, true)`, `17: "event" has its own meaning: give the variable of the loop another name`},
		{`event{id: "x"}`, `5: unknown name "event"`},
		{strings.Repeat("[", 33) + strings.Repeat("]", 33), `0: is nested deeper than 32: split it, or compute it in a plugin`},
		{strings.Repeat("(", 300) + strings.Repeat(")", 300), `expression recursion limit`},
		{`"` + strings.Repeat("x", MaxSource) + `"`, `0: is 4098 bytes long, at most 4096: compute it in a plugin`},
	} {
		_, problems := env.Compile(c.source, scope)
		if len(problems) == 0 {
			t.Errorf("Compile(%q) found nothing, want %s", c.source, c.want)
			continue
		}
		if got := fmt.Sprintf("%d: %s", problems[0].Offset, problems[0].Message); !strings.Contains(got, c.want) {
			t.Errorf("Compile(%.60q)\n got %s\nwant %s", c.source, got, c.want)
		}
	}
}

func TestSeveralMistakesAtOnce(t *testing.T) {
	env, _ := NewEnv(nil, nil)
	_, problems := env.Compile(`evnt.id == "x" && variables.limit > 1 && steps.nope.status == "x"`, scope)
	if len(problems) != 3 {
		t.Errorf("found %v, want 3 mistakes", problems)
	}
}

func TestNamesAbsentFromAPlace(t *testing.T) {
	env, _ := NewEnv(nil, nil)
	_, problems := env.Compile(`steps.clean.status == "x"`, Scope{Absent: map[string]string{Steps: "nothing has run yet"}})
	want := []Problem{{0, "steps cannot be read here: nothing has run yet"}}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestConditionsAreTrueOrFalse(t *testing.T) {
	env, _ := NewEnv(nil, nil)
	_, problems := env.CompileCondition(`event.timestamp`, scope)
	if diff := cmp.Diff([]Problem{{0, "must be true or false, not timestamp"}}, problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	p, problems := env.CompileCondition(`event.data.percent`, scope) // foreign JSON: told when it is read
	if problems != nil {
		t.Fatal(problems)
	}
	if _, err := p.Holds(values(t, fullDisk)); err == nil || err.Error() != "must be true or false, not int" {
		t.Errorf("Holds: err = %v", err)
	}
}

func TestFailuresNameWhatTheyMean(t *testing.T) {
	for _, c := range []struct{ source, want string }{
		{`event.data.absent > 1`, `event.data.absent is missing: test for it with has(event.data.absent)`},
		{`event.data.deep.a.c`, `event.data.deep.a.c is missing: test for it with has(event.data.deep.a.c)`},
		{`event.data.percent.x`, `event.data.percent.x is missing: test for it with has(event.data.percent.x)`},
		{`event.data["absent"]`, `event.data["absent"] is missing`},
		{`steps["disk-cleaner"].result.freed`, `steps["disk-cleaner"].result.freed is missing`},
		{`event.data.items[7]`, `event.data.items[7]: index out of bounds: 7`},
		{`event.data.percent * 1.5`, `event.data.percent * 1.5: * does not take int and double`},
		{`event.data.percent && true`, `event.data.percent && true: && does not take int and bool`},
		{`event.data.mount.startsWith(event.data.percent)`, `event.data.mount.startsWith(event.data.percent): startsWith does not take string and int`},
		{`event.data.percent + "x"`, `event.data.percent + "x": + does not take int and string`},
		{`size(event.data.percent)`, `size(event.data.percent): size does not take int`},
		{`event.id.matches("(a{20}" + "){30}")`, `regex program size 662 exceeds limit of 500`},
		{`1 / 0`, `1 / 0: division by zero`},
		{`int(event.data.mount)`, `int(event.data.mount): type conversion error from 'string' to 'int'`},
	} {
		_, err := compile(t, c.source).Eval(values(t, fullDisk))
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: err = %v, want %s", c.source, err, c.want)
		}
	}
}

func TestAnExpensiveEvaluationIsStopped(t *testing.T) {
	list := "[" + strings.Repeat("1,", 5000) + "1]"
	_, err := compile(t, `event.data.all(a, event.data.all(b, a == b))`).Eval(values(t, `{"list": `+list+`}`))
	if err != nil {
		t.Errorf("a loop over one key: %v", err)
	}
	_, err = compile(t, `event.data.list.all(a, event.data.list.all(b, a == b))`).Eval(values(t, `{"list": `+list+`}`))
	if want := "costs more than 100000 operations: compute it in a plugin"; err == nil || err.Error() != want {
		t.Errorf("err = %v, want %s", err, want)
	}
}

func TestText(t *testing.T) {
	for source, want := range map[string]string{
		`event.key`:                         `/`,
		`event.data.percent`:                `97`,
		`event.data.deep`:                   `{"a":{"b":true}}`,
		`event.timestamp`:                   `2026-01-02T03:04:05Z`,
		`duration("1500ms")`:                `1.5s`,
		`variables.nothing`:                 `null`,
		`[event.timestamp]`:                 `["2026-01-02T03:04:05Z"]`,
		`event.data.load * variables.ratio`: `0.75`,
	} {
		v, err := compile(t, source).Eval(values(t, fullDisk))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := v.AppendText([]byte("x "), 100); err != nil || string(got) != "x "+want {
			t.Errorf("%s = %q, %v; want %q", source, got, err, want)
		}
		if _, err := v.AppendText([]byte("x "), 2); !errors.Is(err, limits.ErrTooLarge) {
			t.Errorf("%s in two bytes: err = %v, want ErrTooLarge", source, err)
		}
	}
}

func TestFindings(t *testing.T) {
	for _, c := range []struct {
		source string
		holds  bool
		want   []Finding
	}{
		{`event.data.percent >= variables.limit && !(event.data.mount in ["/boot"]) && event.severity == "low" && event.data.absent`, false, []Finding{
			{`event.data.percent >= variables.limit`, `event.data.percent = 97, variables.limit = 90`, Met},
			{`!(event.data.mount in ["/boot"])`, `event.data.mount = "/"`, Met},
			{`event.severity == "low"`, `event.severity = "high"`, NotMet},
			{`event.data.absent`, ``, Undecided},
		}},
		{`event.data.absent > 1 && has(event.key)`, false, []Finding{
			{`event.data.absent > 1`, ``, Failed},
			{`has(event.key)`, ``, Met},
		}},
		{`size(event.tags) + int(event.data["percent"]) in [98] && event.data.mount.startsWith("/")`, true, []Finding{
			{`size(event.tags) + int(event.data["percent"]) in [98]`, `event.data["percent"] = 97, event.tags = ["prod"]`, Met},
			{`event.data.mount.startsWith("/")`, `event.data.mount = "/"`, Met},
		}},
		{`[event.id, event.key][0] == "e1"`, true, []Finding{{`[event.id, event.key][0] == "e1"`, `event.id = "e1", event.key = "/"`, Met}}},
		{`event.tags.exists(x, x == "prod")`, true, []Finding{{`event.tags.exists(x, x == "prod")`, `event.tags = ["prod"]`, Met}}},
		{`true`, true, []Finding{{`true`, ``, Met}}},
		{`event.id == "e1" || event.data.absent`, true, []Finding{{`event.id == "e1" || event.data.absent`, `event.id = "e1"`, Met}}},
	} {
		holds, got, err := compile(t, c.source).Test(values(t, fullDisk))
		if diff := cmp.Diff(c.want, got); diff != "" || holds != c.holds {
			t.Errorf("%s: %v, %v (-want +got):\n%s", c.source, holds, err, diff)
		}
	}
}

func TestStepsThatAreRead(t *testing.T) {
	got := compile(t, `steps.clean.status == steps["disk-cleaner"].status || has(steps.clean.result)`).Steps()
	if diff := cmp.Diff([]string{"clean", "disk-cleaner"}, got); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// spent runs f and returns how long it took and what it allocated.
func spent(f func()) (time.Duration, uint64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	f()
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	return took, after.TotalAlloc - before.TotalAlloc
}

// sum adds n terms in a balanced tree, which nests as little as it can.
func sum(term string, n int) string {
	if n == 1 {
		return term
	}
	return "(" + sum(term, n/2) + "+" + sum(term, n-n/2) + ")"
}

// A hostile document and a hostile event together must not stop the orchestrator.
func TestCostIsBounded(t *testing.T) {
	list := "[" + strings.Repeat("1,", 20000) + "1]"
	data := fmt.Sprintf(`{"text": %q, "list": %s}`, strings.Repeat("a", 60<<10), list)
	for name, source := range map[string]string{
		"nested loops":  `event.data.list.all(a, event.data.list.all(b, event.data.list.all(c, a == b && b == c)))`,
		"concatenation": sum("event.data.text", 200),
		"in a loop":     `event.data.list.all(a, size(` + sum("event.data.text", 100) + `) > 0)`,
		"sums compared": `event.data.list.all(a, ` + sum("event.data.list", 60) + ` == ` + sum("trigger.data.list", 60) + `)`,
		"lists":         sum("event.data.list", 200),
		"comparisons":   `event.data.list.all(a, event.data == trigger.data)`,
		"membership":    `event.data.list.all(a, event.data in [event.data.list, event.data, trigger.data])`,
		"search":        `event.data.list.all(a, !(2 in event.data.list))`,
		"slow pattern":  `event.data.text.matches("(a?){80}a{80}b")`,
		"pattern":       `event.data.list.all(a, event.data.text.matches("(a*)*(a|b)*$"))`,
		"made pattern":  `event.data.text.matches("((a{1,100}){1,10}" + event.data.text)`,
	} {
		t.Run(name, func(t *testing.T) {
			program := compile(t, source)
			v := values(t, data)
			took, allocated := spent(func() {
				if out, err := program.Eval(v); err == nil {
					_, _ = out.AppendJSON(nil, 256<<10)
				}
			})
			// Without the bound each takes minutes; the race detector makes it ten times slower.
			if took > 15*time.Second || allocated > 128<<20 {
				t.Errorf("took %v and %d MiB", took, allocated>>20)
			}
			t.Logf("took %v and %d KiB", took, allocated>>10)
		})
	}
}

// Matching takes time by the text times the pattern, and is charged so.
func TestMatchingCostsByThePattern(t *testing.T) {
	text := types.String(strings.Repeat("a", 60<<10))
	short := *toll{}.CallCost("matches", "", []ref.Val{text, types.String("a{9}")}, types.True)
	long := *toll{}.CallCost("matches", "", []ref.Val{text, types.String("(a?){80}a{80}b{99}c*")}, types.True)
	if short < 10_000 || long < 3*short || long > costLimit {
		t.Errorf("costs %d with a short pattern and %d with one five times as long", short, long)
	}
}

func TestValuesAreBounded(t *testing.T) {
	v, err := compile(t, `event.data.items + event.data.items`).Eval(values(t, fullDisk))
	if err != nil {
		t.Fatal(err)
	}
	for _, max := range []int{0, 5, 16} {
		if _, err := v.AppendJSON(nil, max); !errors.Is(err, limits.ErrTooLarge) {
			t.Errorf("AppendJSON to %d bytes: err = %v, want ErrTooLarge", max, err)
		}
	}
	if b, err := v.AppendJSON(nil, 100); err != nil || string(b) != `[1,2.5,"x",1,2.5,"x"]` {
		t.Errorf("AppendJSON = %s, %v", b, err)
	}
}

func TestWhatHasNoFormInJSON(t *testing.T) {
	for _, source := range []string{`1.0 / 0.0`, `type(1)`, `{1: 2}`} {
		v, err := compile(t, source).Eval(values(t, fullDisk))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := v.AppendJSON(nil, 100); err == nil || !strings.Contains(err.Error(), "no form in JSON") {
			t.Errorf("%s = %s, %v; want a refusal", source, b, err)
		}
	}
}

func TestDecode(t *testing.T) {
	got, err := Decode([]byte(`{"a": [1, 1.0, 1e2, 9223372036854775808, true, null, "x"]}`))
	want := map[string]any{"a": []any{int64(1), 1.0, 100.0, 9223372036854775808.0, true, nil, "x"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("Decode: %v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{`1e999`, `[1e999]`, `{"a":1e999}`, `1 2`, ``, `{`} {
		if v, err := Decode([]byte(bad)); err == nil {
			t.Errorf("Decode(%q) = %v, want an error", bad, v)
		}
	}
}

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []Part
	}{
		{``, nil},
		{`plain }} text`, []Part{{`plain }} text`, false, 0}}},
		{`${{ a }}`, []Part{{` a `, true, 3}}},
		{`é ${{a}} b ${{}}`, []Part{{`é `, false, 0}, {`a`, true, 5}, {` b `, false, 8}, {``, true, 14}}},
		{`${{ {"a": {"b": 1}} }}`, []Part{{` {"a": {"b": 1}} `, true, 3}}},
		{`${{ "}}" + '\'}}' }}`, []Part{{` "}}" + '\'}}' `, true, 3}}},
		{`${{ "${{" }}`, []Part{{` "${{" `, true, 3}}},
	} {
		got, err := Split(c.in)
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("Split(%q): %v (-want +got):\n%s", c.in, err, diff)
		}
	}
	for in, offset := range map[string]int{`${{ a`: 0, `ab${{ "}}`: 2, `${{ a }} ${{ {}} `: 9} {
		if got, err := Split(in); !errors.Is(err, ErrUnclosed) || len(got) != 1 || got[0].Offset != offset {
			t.Errorf("Split(%q) = %v, %v; want it unclosed at %d", in, got, err, offset)
		}
	}
}

func FuzzExpr(f *testing.F) {
	f.Add(`event.data.percent >= variables.limit && steps.clean.status == "completed"`)
	f.Add(`event.data.items.exists(x, x > 1) ? {"a": [event.tags]} : null`)
	f.Add(`event.data.mount.matches("^/(a|b)*") || "x" + 'y' == r"\n"`)
	f.Add("'" + strings.Repeat("\xa6", MaxSource-1)) // a mistake for each byte
	env, err := NewEnv(variables, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, source string) {
		took, allocated := spent(func() { evalAny(t, env, source) })
		if took > 5*time.Second || allocated > 256<<20 {
			t.Errorf("%q took %v and %d MiB", source, took, allocated>>20)
		}
	})
}

func evalAny(t *testing.T, env *Env, source string) {
	p, problems := env.Compile(source, scope)
	for _, problem := range problems {
		if problem.Message == "" || problem.Offset < 0 || problem.Offset > len([]rune(source)) {
			t.Errorf("Compile(%q): problem %+v is outside of the source or empty", source, problem)
		}
	}
	if p == nil {
		if len(problems) == 0 {
			t.Errorf("Compile(%q) made neither a program nor a problem", source)
		}
		return
	}
	v, err := p.Eval(values(t, fullDisk))
	if err != nil {
		return
	}
	first, err := v.AppendJSON(nil, 1<<16)
	if err != nil {
		return
	}
	if _, err := Decode(first); err != nil {
		t.Errorf("%q gives %s, which is not JSON: %v", source, first, err)
	}
	again, _ := p.Eval(values(t, fullDisk))
	if second, _ := again.AppendJSON(nil, 1<<16); string(second) != string(first) {
		t.Errorf("%q gives %s, then %s", source, first, second)
	}
}
