package deployments

import (
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	security "k8s.io/pod-security-admission/api"
	strict "sigs.k8s.io/yaml"
)

func template(t *testing.T, values string) (*objects, error) {
	t.Helper()
	c, err := loader.Load("../../deployments/helm/stavily")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	given := map[string]any{}
	if err := strict.Unmarshal([]byte(values), &given); err != nil {
		t.Fatal(err)
	}
	all, err := chartutil.ToRenderValues(c, given, chartutil.ReleaseOptions{Name: "prod", Namespace: "stavily-agents", IsInstall: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := engine.Engine{Strict: true}.Render(c, all)
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	for name, doc := range rendered {
		if strings.HasSuffix(name, ".yaml") {
			text.WriteString("\n---\n" + doc)
		}
	}
	o, err := decode([]byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	return o, nil
}

// The chart renders to what the manifests are, as helm's own engine does it.
func TestChart(t *testing.T) {
	for name, c := range map[string]struct {
		values    string
		level     security.Level
		workloads []string
	}{
		"defaults": {"", security.LevelRestricted,
			[]string{"Deployment prod-action-agent", "Deployment prod-sensor-agent", "StatefulSet prod-server"}},
		"agents of a server elsewhere": {"{baseURL: 'https://s.example.com:8443', server: {enabled: false}, agents: {action: {enabled: false}}}", security.LevelRestricted,
			[]string{"Deployment prod-sensor-agent"}},
		"on every node": {"{agent: {kind: DaemonSet, hostView: true, tolerations: [{operator: Exists}], nodeSelector: {a: b}}}", security.LevelPrivileged,
			[]string{"DaemonSet prod-action-agent", "DaemonSet prod-sensor-agent", "StatefulSet prod-server"}},
		"everything said": {`{
			server: {hostnames: [stavily.example.com], storageClass: fast-ssd}, images: {tag: v1},
			agent: {storageClass: fast-ssd, seccompProfile: Unconfined, certificateSecret: agent-certificates,
				config: {logging: {level: debug}, plugins: {max_memory: 64MB}},
				plugins: {directory-size: {interval: 30s, config: {path: /tmp, max_bytes: 1}}, heartbeat: {}}}}`, security.LevelPrivileged,
			[]string{"Deployment prod-action-agent", "Deployment prod-sensor-agent", "StatefulSet prod-server"}},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := template(t, c.values)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range o.workloads() {
				got = append(got, w.kind+" "+w.name)
			}
			if slices.Sort(got); !slices.Equal(got, c.workloads) {
				t.Errorf("workloads %q, want %q", got, c.workloads)
			}
			o.check(t, c.level)
		})
	}
}

func TestChartCarriesConfiguration(t *testing.T) {
	o, err := template(t, "{agent: {config: {logging: {level: debug}}, plugins: {directory-size: {interval: 30s}}}}")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range o.workloads() {
		if agentType(w) == "" {
			continue
		}
		cfg := o.load(t, w).Config
		if cfg.Logging.Level != "debug" || cfg.API.BaseURL != "https://prod-server.stavily-agents.svc:8443" || cfg.Plugins.ConfigDir != "/etc/stavily/plugins" {
			t.Errorf("%s: level %s, server %s, plugins' files in %s", w.name, cfg.Logging.Level, cfg.API.BaseURL, cfg.Plugins.ConfigDir)
		}
		if file := o.configMap(t, w.name+"-plugins").Data["directory-size.yaml"]; file != "interval: 30s\nplugin: directory-size" && file != "interval: 30s\nplugin: directory-size\n" {
			t.Errorf("the plugin's file is %q", file)
		}
	}
	if _, err := template(t, "{server: {enabled: false}}"); err == nil || !strings.Contains(err.Error(), "baseURL is needed") {
		t.Errorf("agents without a server: %v, want what to set", err)
	}
}
