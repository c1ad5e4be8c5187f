package telemetry

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// metricInQuery is what stands for one of our metrics, or of the process's, in PromQL.
var metricInQuery = regexp.MustCompile(`\b(?:stavily_(?:agent|server)|process|go)_[a-z0-9_]+\b`)

func declaredNames(t *testing.T) map[string]string {
	t.Helper()
	kinds := map[string]string{}
	for _, p := range documented {
		for _, d := range part(t, p.prefix, p.dirs) {
			kinds[d.Name] = d.Kind
		}
	}
	return kinds
}

// exists reports whether a program serves a series of that name.
func exists(kinds map[string]string, name string) bool {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, is := strings.CutSuffix(name, suffix); is && kinds[base] == "histogram" {
			return true
		}
	}
	return kinds[name] != "" && kinds[name] != "histogram"
}

// TestDeploymentsNameMetricsThatExist reads the alert rules and the dashboard.
func TestDeploymentsNameMetricsThatExist(t *testing.T) {
	kinds := declaredNames(t)
	for file, least := range map[string]int{"prometheus/stavily.rules.yml": 15, "prometheus/stavily.test.yml": 7, "grafana/stavily.json": 25} {
		text, err := os.ReadFile(filepath.Join(root, "deployments", file))
		if err != nil {
			t.Fatal(err)
		}
		names := map[string]bool{}
		for _, name := range metricInQuery.FindAllString(string(text), -1) {
			names[name] = true
			if !exists(kinds, name) {
				t.Errorf("%s names %s, which no program serves", file, name)
			}
		}
		if len(names) < least {
			t.Errorf("%s names %d metrics, want %d or more", file, len(names), least)
		}
	}
	if exists(kinds, "stavily_agent_no_such_total") || exists(kinds, "stavily_agent_api_request_seconds") || !exists(kinds, "stavily_agent_api_request_seconds_bucket") {
		t.Error("the check does not check")
	}
}

func TestDashboard(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "deployments/grafana/stavily.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		UID    string
		Panels []struct {
			ID          int
			Type, Title string
			Description string
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	ids, places := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" || p.Type != "row" && (len(p.Targets) == 0 || p.Description == "") {
			t.Errorf("panel %d %q has no title, query or description, or its id is there twice", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := places[[2]int{x, y}]; other != "" {
					t.Fatalf("%q lies on %q", p.Title, other)
				}
				places[[2]int{x, y}] = p.Title
			}
		}
	}
	if d.UID == "" || len(d.Panels) < 20 {
		t.Errorf("dashboard %q has %d panels", d.UID, len(d.Panels))
	}
}

// TestAlertRules has Prometheus's own tool judge the rules, where it is installed.
func TestAlertRules(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian: prometheus)")
	}
	for _, args := range [][]string{{"check", "rules", "stavily.rules.yml"}, {"test", "rules", "stavily.test.yml"}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = filepath.Join(root, "deployments", "prometheus")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
