package workflow

import (
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// manifestOf reads a manifest of a test.
func manifestOf(t *testing.T, text string) plugin.Manifest {
	t.Helper()
	m, warnings, err := plugin.ParseManifest("plugin.yaml", []byte("runtime: {type: python, entry_point: main.py}\n"+text))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	return m
}

// aServer knows one plugin of each kind, one that is only installed, and two agents.
func aServer(t *testing.T) Known {
	disk := manifestOf(t, `
id: disk-space
version: 1.0.0
type: sensor
events:
  disk.space.high: {mount: {type: string}, percent: {type: number}, used: {type: integer}}
  disk.space.ok: {mount: {type: string}, percent: {type: number}, since: {type: integer}}
`)
	cleaner := manifestOf(t, `
id: cleaner
version: 1.4.0
type: action
parameters: {path: {type: string, required: true, pattern: "^/"}, days: {type: integer}, names: {type: array}, dry: {type: boolean}}
`)
	return Known{
		Plugins: map[api.PluginID]KnownPlugin{
			"disk-space": {Published: []plugin.Manifest{disk}},
			"cleaner":    {Published: []plugin.Manifest{cleaner}, Installed: []string{"1.4.0"}},
			"restart":    {Installed: []string{"2.0.0"}},
		},
		Agents: []KnownAgent{
			{Agent: Agent{ID: "web-1", Name: "one", Tags: []string{"web"}}, Type: api.Action},
			{Agent: Agent{ID: "sensor-1"}, Type: api.Sensor},
		},
		Workflows:   []string{"nightly"},
		PluginsTold: true,
	}
}

// What is known beside a document finds these mistakes in it, each where it stands.
func TestADocumentIsHeldToWhatIsThere(t *testing.T) {
	const head = "name: w\ntriggers: [{event: disk.space.high}]\n"
	for name, c := range map[string]struct{ src, want string }{
		"field": {head + "when: event.data.percnt > 90\nactions: [{plugin: restart}]",
			`w.yaml:3:18: event.data has no field "percnt": did you mean "percent"?`},
		"field of the trigger": {head + "actions: [{plugin: cleaner, with: {path: '${{ trigger.data.dir }}'}}]",
			`w.yaml:3:60: trigger.data has no field "dir": there is mount, percent, used`},
		"field that is asked for":  {head + "when: has(event.data.mounted)\nactions: [{plugin: restart}]", `w.yaml:3:11: event.data has no field "mounted": did you mean "mount"?`},
		"field of another event":   {head + "when: event.data.since > 1\nactions: [{plugin: restart}]", `event.data has no field "since"`},
		"type of a field":          {head + "when: event.data.mount > 90\nactions: [{plugin: restart}]", `w.yaml:3:24: > does not take (string, int)`},
		"field of a schedule":      {"name: w\ntriggers: [{schedule: '@daily'}]\nactions: [{plugin: restart, agents: {ids: [web-1]}, with: {a: '${{ event.data.due }}'}}]", `w.yaml:3:79: event.data has no field "due": there is scheduled`},
		"field of what is awaited": {head + "actions: [{id: a, wait_for: {event: disk.space.ok, where: event.data.nothing == 1}}]", `event.data has no field "nothing"`},
		"plugin":                   {head + "actions: [{plugin: cleanr}]", `w.yaml:3:20: plugin cleanr is not published, and no action agent has it: did you mean cleaner?; to apply it all the same: --allow-missing`},
		"version":                  {head + "actions: [{plugin: restart@^3}]", `w.yaml:3:20: plugin restart is there in no version ^3, but in 2.0.0`},
		"kind":                     {head + "actions: [{plugin: disk-space}]", `w.yaml:3:20: plugin disk-space is a sensor`},
		"undo":                     {head + "on_failure: undo\nactions: [{plugin: restart, undo: {plugin: cleaner}}]", `w.yaml:4:44: cleaner 1.4.0 needs path (string)`},
		"output":                   {head + "outputs: [{plugin: cleaner, with: {path: /x, day: 1}}]", `w.yaml:3:51: cleaner 1.4.0 takes no day: did you mean days?`},
		"needed":                   {head + "actions: [{plugin: cleaner, with: {days: 1}}]", `w.yaml:3:35: cleaner 1.4.0 needs path (string)`},
		"value":                    {head + "actions: [{plugin: cleaner, with: {path: var}}]", `w.yaml:3:42: cleaner 1.4.0: path`},
		"type of a value":          {head + "actions: [{plugin: cleaner, with: {path: /x, names: '${{ size(event.tags) }}'}}]", `w.yaml:3:53: cleaner 1.4.0: names must be of type array, and this is of type integer`},
		"type of a list":           {head + "actions: [{plugin: cleaner, with: {path: ['${{ event.id }}']}}]", `path must be of type string, and this is of type array`},
		"agent":                    {head + "actions: [{plugin: restart, agents: {ids: [web-2]}}]", `w.yaml:3:44: there is no action agent web-2: did you mean web-1?`},
		"sensor":                   {head + "actions: [{plugin: restart, agents: {ids: [sensor-1]}}]", `w.yaml:3:44: agent sensor-1 is not of type action`},
		"agent of a trigger":       {"name: w\ntriggers: [{event: x, agents: {ids: [nobody]}}]\nactions: [{plugin: restart}]", `w.yaml:2:38: there is no sensor agent nobody`},
		"name":                     {head + "actions: [{plugin: restart, agents: {any: {names: [two]}}}]", `w.yaml:3:52: there is no action agent with the name two`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse("w.yaml", []byte(c.src)); err != nil {
				t.Fatalf("it is wrong by itself: %v", err)
			}
			_, _, err := ParseKnowing("w.yaml", []byte(c.src), aServer(t))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
}

// What is right is taken, and of what may come people are only told.
func TestWhatMayComeIsAWarning(t *testing.T) {
	const head = "name: w\ntriggers: [{event: disk.space.*}]\n"
	lenient, nothing := aServer(t), Known{}
	lenient.Lenient = true
	for name, c := range map[string]struct {
		src, warning string
		known        Known
	}{
		"right":                       {head + "when: event.data.percent > 90 && event.data.since < 3 && 'mount' in event.data && event.data['used'] > 1\nactions: [{plugin: cleaner@^1, with: {path: /x, days: '${{ event.data.used }}', dry: true}}]", "", aServer(t)},
		"wait":                        {head + "actions: [{id: a, wait_for: {event: other, where: event.data.nothing == trigger.data.mount}}]", "", aServer(t)},
		"one event of no declaration": {"name: w\ntriggers: [{event: disk.space.high}, {event: other}]\nwhen: event.data.nothing == 1\nactions: [{plugin: restart}]", "", aServer(t)},
		"brought":                     {head + "actions: [{id: i, plugin: new, type: plugin_install, plugin_configuration: {plugin_url: 'https://h/x'}}, {plugin: new, needs: [i]}]", "", aServer(t)},
		"workflow":                    {"name: w\ntriggers: [{workflow: nightl}]\nactions: [{plugin: restart}]", "w.yaml:2:23: there is no workflow nightl yet: did you mean nightly?", aServer(t)},
		"tags":                        {head + "actions: [{plugin: restart, agents: {any: {tags: [db]}}}]", "w.yaml:3:50: no action agent has the tags db now", aServer(t)},
		"allowed":                     {head + "actions: [{plugin: other}]", "w.yaml:3:20: plugin other is not published, and no action agent has it", lenient},
		"nothing is told":             {head + "actions: [{plugin: other, agents: {ids: [new]}}]", "w.yaml:3:20: plugin other is not published, and no action agent has it\nw.yaml:3:42: there is no action agent new", nothing},
	} {
		t.Run(name, func(t *testing.T) {
			d, warnings, err := ParseKnowing("w.yaml", []byte(c.src), c.known)
			if err != nil || d == nil {
				t.Fatal(err)
			}
			got := ""
			if len(warnings) > 0 {
				got = warnings.Error()
			}
			if got != c.warning {
				t.Errorf("warnings %q, want %q", got, c.warning)
			}
		})
	}
}
