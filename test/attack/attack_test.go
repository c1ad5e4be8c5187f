//go:build linux

package main

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/shared/pkg/api"
)

// ordinary is one of the texts with which a probe says who refuses it to everybody.
const ordinary = "the kernel refuses it to every user but root"

func postureAt(level string) *api.Posture { return &api.Posture{Level: api.SandboxLevel(level)} }

func probesForTest(t *testing.T) []probe {
	t.Helper()
	probes, err := listProbes(t.Context(), "python3")
	if err != nil {
		t.Fatal(err)
	}
	return probes
}

// What is said of probes by name, in tables of this program, is said of probes that
// there are.
func TestNamesAreOfProbes(t *testing.T) {
	known := map[string]probe{}
	for _, p := range probesForTest(t) {
		known[p.Name] = p
	}
	if len(known) < 110 {
		t.Errorf("%d probes: want at least 110", len(known))
	}
	for name := range checks {
		if _, ok := known[name]; !ok {
			t.Errorf("checks: there is no probe %s", name)
		}
	}
	for name := range strays {
		if p, ok := known[name]; ok && p.Kind != "short" && p.Kind != "alone" && p.Kind != "last" {
			t.Errorf("strays: what %s leaves is looked for only after probes of kinds short, alone and last, it is %s", name, p.Kind)
		}
	}
	for _, c := range configurations {
		for name, why := range c.Open {
			if _, ok := known[name]; !ok || why == "" {
				t.Errorf("configuration %s: %s: there is no such probe, or no reason", c.Name, name)
			}
		}
	}
}

// Where every attack must be known: the acceptance of the sandbox.
func TestFewAttacksAreExpectedToWork(t *testing.T) {
	most := map[string]int{"none": 0, "full": 2, "confined": 4}
	for _, c := range configurations {
		limit := most[c.Level]
		if c.Level == "full" && c.UID == 0 {
			limit = 0 // its control groups hold the memory
		}
		if c.Grants != "" {
			limit += len(openWideConfined) // what is granted is no attack
		}
		if len(c.Open) > limit {
			t.Errorf("%s: %d attacks may work: at most %d", c.Name, len(c.Open), limit)
		}
	}
}

// A probe that does what it should not makes the run fail, whichever way.
func TestJudge(t *testing.T) {
	allowed := map[string]string{"known": "because"}
	for _, c := range []struct {
		what    string
		level   string
		control string
		verdict string
		name    string
		fails   bool
	}{
		{"works in the sandbox", "full", works, open, "x", true},
		{"is explained", "full", works, open, "known", false},
		{"is refused", "full", works, blocked, "x", false},
		{"died", "full", works, broken, "x", true},
		{"explained and died", "full", works, broken, "known", true},
		{"works in the control", "none", works, open, "x", false},
		{"a probe that proves nothing", "none", works, blocked, "x", true},
		{"refused by somebody else", "none", ordinary, blocked, "x", false},
		{"works although somebody else refuses it", "none", ordinary, open, "x", true},
		{"nothing to attack", "none", works, absent, "x", false},
	} {
		r := result{configuration: configuration{Level: c.level, Open: allowed}}
		r.report.Posture = postureAt(c.level)
		r.report.Outcomes = []outcome{{probe: probe{Name: c.name, Control: c.control}, Verdict: c.verdict}}
		r.judge()
		if (len(r.unexpected) > 0) != c.fails {
			t.Errorf("%s: complaints = %q, want some: %v", c.what, r.unexpected, c.fails)
		}
	}
}

func TestJudgeWantsTheLevel(t *testing.T) {
	r := result{configuration: configuration{Level: "full"}}
	r.report.Posture = postureAt("confined")
	if r.judge(); len(r.unexpected) != 1 || !strings.Contains(r.unexpected[0], "confined") {
		t.Errorf("complaints = %q, want one about the level", r.unexpected)
	}
}

// What died is tried again, and so is what supervision came too late for; what the kernel is to refuse is not.
func TestUnsure(t *testing.T) {
	r := result{configuration: configuration{Level: "none"}}
	r.report.Outcomes = []outcome{
		{probe: probe{Name: "died", Control: works}, Verdict: broken},
		{probe: probe{Name: "late", Control: supervised}, Verdict: open},
		{probe: probe{Name: "held", Control: supervised}, Verdict: blocked},
		{probe: probe{Name: "kernel", Control: ordinary}, Verdict: open},
		{probe: probe{Name: "works", Control: works}, Verdict: open},
	}
	if diff := cmp.Diff([]string{"died", "late"}, r.unsure()); diff != "" {
		t.Errorf("tried again (-want +got):\n%s", diff)
	}
	if !slices.ContainsFunc(probesForTest(t), func(p probe) bool { return p.Control == supervised }) {
		t.Error("no probe says that supervision refuses it")
	}
	r.Level, r.Open = "full", map[string]string{"late": "a host like this cannot refuse it"}
	if diff := cmp.Diff([]string{"died"}, r.unsure()); diff != "" {
		t.Errorf("tried again where it is expected to work (-want +got):\n%s", diff)
	}
}

func TestSettle(t *testing.T) {
	of := func(level, verdict string) result {
		return result{configuration: configuration{Level: level}, report: worldReport{Outcomes: []outcome{{probe: probe{Name: "x"}, Verdict: verdict}}}}
	}
	for _, c := range []struct{ control, before, after string }{
		{open, absent, blocked}, {blocked, absent, blocked}, {absent, absent, absent}, {open, open, open}, {open, broken, broken},
	} {
		results := []result{of("none", c.control), of("full", c.before)}
		settle(results)
		if got := results[1].report.Outcomes[0].Verdict; got != c.after {
			t.Errorf("control %s, sandbox %s: settled as %s, want %s", c.control, c.before, got, c.after)
		}
	}
}

// The table that is in the repository is of these probes and configurations. Its
// verdicts are the suite's to write (make attack).
func TestTableIsCurrent(t *testing.T) {
	const path = "../../docs/security/sandbox.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| (.*?) \\|").FindAllSubmatch(text, -1)
	listed := map[string]string{}
	for _, row := range rows {
		listed[string(row[1])] = string(row[2])
	}
	for _, p := range probesForTest(t) {
		if p.Kind != "victim" && listed[p.Name] != p.About {
			t.Errorf("%s: %s is listed as %q, is %q: run make attack", path, p.Name, listed[p.Name], p.About)
		}
		delete(listed, p.Name)
	}
	for name := range listed {
		t.Errorf("%s: lists %s, which is no probe: run make attack", path, name)
	}
	for _, c := range configurations {
		if !bytes.Contains(text, []byte("| **"+c.Title+"** | "+c.About+" |")) {
			t.Errorf("%s: configuration %s is not in it as it is: run make attack", path, c.Name)
		}
		for name, why := range c.Open {
			if !bytes.Contains(text, []byte("- `"+name+"`: "+why+"\n")) {
				t.Errorf("%s: lacks the explanation of %s in %s: run make attack", path, name, c.Name)
			}
		}
	}
}
