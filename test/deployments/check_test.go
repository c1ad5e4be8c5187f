package deployments

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	security "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
)

func newReader(b []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(b)) }

// check holds what is true of every deployment of ours, whatever made its documents.
// level is the Pod Security Standard that its namespace asks for.
func (o *objects) check(t *testing.T, level security.Level) {
	t.Helper()
	if len(o.workloads()) == 0 {
		t.Fatal("no workload")
	}
	for _, w := range o.workloads() {
		for _, problem := range validation.NameIsDNSSubdomain(w.name, false) {
			t.Errorf("%s: name: %s", w.name, problem)
		}
		if !labels.SelectorFromSet(w.selector).Matches(labels.Set(w.pod.Labels)) || len(w.selector) == 0 {
			t.Errorf("%s: the selector %v does not select its own pods %v", w.name, w.selector, w.pod.Labels)
		}
		for _, other := range o.workloads() {
			if other.name != w.name && labels.SelectorFromSet(w.selector).Matches(labels.Set(other.pod.Labels)) {
				t.Errorf("%s selects the pods of %s", w.name, other.name)
			}
		}
		o.checkVolumes(t, w)
		checkContainers(t, w)
		checkSecurity(t, w, level)
		if agentType(w) != "" {
			o.checkAgent(t, w)
		}
	}
	o.checkServices(t)
}

// checkVolumes: whatever is mounted is there, in this deployment or said to be yours.
func (o *objects) checkVolumes(t *testing.T, w workload) {
	t.Helper()
	has := map[string]bool{}
	for _, c := range w.claims {
		has[c.Name] = true
	}
	for _, v := range w.pod.Spec.Volumes {
		has[v.Name] = true
		if c := v.PersistentVolumeClaim; c != nil && !slices.ContainsFunc(o.claims, func(have *corev1.PersistentVolumeClaim) bool { return have.Name == c.ClaimName }) {
			t.Errorf("%s: volume %s: no claim %s", w.name, v.Name, c.ClaimName)
		}
		if c := v.ConfigMap; c != nil {
			o.configMap(t, c.Name)
		}
		if v.Projected != nil {
			o.checkProjected(t, w, v)
		}
		if v.HostPath != nil && w.kind == "Deployment" && v.HostPath.Type != nil {
			t.Errorf("%s: volume %s: a pod that moves must not keep things on a node", w.name, v.Name)
		}
	}
	for _, c := range slices.Concat(w.pod.Spec.InitContainers, w.pod.Spec.Containers) {
		mounted := map[string]bool{}
		for _, m := range c.VolumeMounts {
			if !has[m.Name] {
				t.Errorf("%s: %s mounts %s, which is no volume", w.name, c.Name, m.Name)
			}
			if mounted[m.MountPath] {
				t.Errorf("%s: %s mounts two volumes at %s", w.name, c.Name, m.MountPath)
			}
			mounted[m.MountPath] = true
			if strings.HasPrefix(m.MountPath, "/host/") && !m.ReadOnly {
				t.Errorf("%s: %s mounts %s writable", w.name, c.Name, m.MountPath)
			}
		}
	}
}

// checkProjected: the kubelet does not start a pod that asks for a key which is not there.
func (o *objects) checkProjected(t *testing.T, w workload, v corev1.Volume) {
	t.Helper()
	for _, source := range v.Projected.Sources {
		have := o.configMap(t, source.ConfigMap.Name)
		for _, item := range source.ConfigMap.Items {
			if _, ok := have.Data[item.Key]; !ok {
				t.Errorf("%s: volume %s: ConfigMap %s has no %s", w.name, v.Name, have.Name, item.Key)
			}
		}
	}
}

func (o *objects) configMap(t *testing.T, name string) *corev1.ConfigMap {
	t.Helper()
	for _, c := range o.configMaps {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no ConfigMap %s", name)
	return nil
}

func checkContainers(t *testing.T, w workload) {
	t.Helper()
	for _, c := range w.pod.Spec.Containers {
		for what, p := range map[string]*corev1.Probe{"liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
			if p == nil {
				t.Errorf("%s: %s has no %s probe", w.name, c.Name, what)
			} else if p.HTTPGet != nil {
				checkPort(t, w, c, p.HTTPGet.Port)
			} else if p.TCPSocket != nil {
				checkPort(t, w, c, p.TCPSocket.Port)
			}
		}
		if c.Resources.Requests.Cpu().IsZero() || c.Resources.Limits.Memory().IsZero() {
			t.Errorf("%s: %s says neither what it needs nor what it may take", w.name, c.Name)
		}
	}
}

func checkPort(t *testing.T, w workload, c corev1.Container, port intstr.IntOrString) {
	t.Helper()
	if !slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == port.StrVal }) {
		t.Errorf("%s: %s has no port named %q", w.name, c.Name, port.String())
	}
}

// checkSecurity asks the code that admits pods to a namespace of this level.
func checkSecurity(t *testing.T, w workload, level security.Level) {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	asked := security.LevelVersion{Level: level, Version: security.LatestVersion()}
	result := policy.AggregateCheckResults(evaluator.EvaluatePod(asked, &w.pod.ObjectMeta, &w.pod.Spec))
	if !result.Allowed {
		t.Errorf("%s is not let into a namespace of level %s: %s", w.name, level, result.ForbiddenDetail())
	}
	for _, c := range w.pod.Spec.Containers { // R157, whatever the level
		user := w.pod.Spec.SecurityContext
		if c.SecurityContext == nil || c.SecurityContext.RunAsUser != nil || user.RunAsNonRoot == nil || !*user.RunAsNonRoot ||
			*user.RunAsUser != 1000 || *user.RunAsGroup != 1000 || *user.FSGroup != 1000 {
			t.Errorf("%s: %s does not run as 1000:1000", w.name, c.Name)
		}
		if c.SecurityContext.Privileged != nil || *c.SecurityContext.AllowPrivilegeEscalation || len(c.SecurityContext.Capabilities.Add) > 0 {
			t.Errorf("%s: %s has privileges", w.name, c.Name)
		}
	}
}

// agentType is which agent a workload runs, if it runs one.
func agentType(w workload) api.AgentType {
	switch image := w.pod.Spec.Containers[0].Image; {
	case strings.Contains(image, "sensor-agent"):
		return api.Sensor
	case strings.Contains(image, "action-agent"):
		return api.Action
	}
	return ""
}

// checkAgent: the agent's own code takes the configuration that the pod gives it, and
// answers probes where the pod asks (R114, R152).
func (o *objects) checkAgent(t *testing.T, w workload) {
	t.Helper()
	c := w.pod.Spec.Containers[0]
	live, ready := c.LivenessProbe, c.ReadinessProbe
	if live.HTTPGet.Path != "/health" || live.InitialDelaySeconds != 30 || live.PeriodSeconds != 30 {
		t.Errorf("%s: liveness %+v, want /health after 30 s, each 30 s", w.name, live)
	}
	if ready.HTTPGet.Path != "/ready" || ready.InitialDelaySeconds != 5 || ready.PeriodSeconds != 10 {
		t.Errorf("%s: readiness %+v, want /ready after 5 s, each 10 s", w.name, ready)
	}
	loaded := o.load(t, w)
	want := []corev1.ContainerPort{{Name: "health", ContainerPort: int32(loaded.Config.Health.Port), Protocol: corev1.ProtocolTCP}}
	for i := range c.Ports {
		c.Ports[i].Protocol = corev1.ProtocolTCP
	}
	if !slices.Contains(c.Ports, want[0]) {
		t.Errorf("%s: ports %v, but the agent's health is at %d", w.name, c.Ports, loaded.Config.Health.Port)
	}
	if !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
		return m.MountPath == loaded.Config.Agent.BaseDir && !m.ReadOnly
	}) {
		t.Errorf("%s: no volume at the base directory %s", w.name, loaded.Config.Agent.BaseDir)
	}
}

// load reads an agent's configuration as it does in its pod, on a node named node-1.
func (o *objects) load(t *testing.T, w workload) *config.Loaded {
	t.Helper()
	c := w.pod.Spec.Containers[0]
	environ := map[string]string{}
	for _, e := range c.Env {
		environ[e.Name] = strings.ReplaceAll(e.Value, "$(NODE_NAME)", "node-1")
	}
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	config.RegisterFlags(flags)
	if err := flags.Parse(c.Args); err != nil {
		t.Fatal(err)
	}
	asked := cmp.Or(flags.Lookup("config").Value.String(), environ["STAVILY_CONFIG"])
	text := o.mounted(t, w, asked)
	file := filepath.Join(t.TempDir(), "agent.yaml")
	if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), flags.Set("config", file)); err != nil {
		t.Fatal(err)
	}
	var pairs []string
	for name, value := range environ {
		pairs = append(pairs, name+"="+value)
	}
	loaded, err := config.Load(config.LoadOptions{Type: agentType(w), Flags: flags, Environ: pairs, Hostname: "node-1"})
	if err != nil {
		t.Fatalf("%s: the agent does not take its configuration: %v\n%s", w.name, err, text)
	}
	if len(loaded.Warnings) > 0 {
		t.Errorf("%s: the agent warns: %s", w.name, loaded.Warnings)
	}
	// Without a base directory of its own it is below the image's working directory.
	if here, err := os.Getwd(); err == nil {
		loaded.Config.Agent.BaseDir = strings.Replace(loaded.Config.Agent.BaseDir, here, "/app", 1)
	}
	return loaded
}

// mounted is the text of a file that a ConfigMap puts into a pod.
func (o *objects) mounted(t *testing.T, w workload, path string) string {
	t.Helper()
	for _, m := range w.pod.Spec.Containers[0].VolumeMounts {
		for _, v := range w.pod.Spec.Volumes {
			if name := configMapOf(v); v.Name == m.Name && name != "" && filepath.Dir(path) == m.MountPath {
				return o.configMap(t, name).Data[filepath.Base(path)]
			}
		}
	}
	t.Fatalf("%s: nothing puts %q into the pod", w.name, path)
	return ""
}

func configMapOf(v corev1.Volume) string {
	switch {
	case v.ConfigMap != nil:
		return v.ConfigMap.Name
	case v.Projected != nil:
		return v.Projected.Sources[0].ConfigMap.Name
	}
	return ""
}

// checkServices: each leads to a port of the pods that it selects.
func (o *objects) checkServices(t *testing.T) {
	t.Helper()
	for _, s := range o.services {
		found := false
		for _, w := range o.workloads() {
			if !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(w.pod.Labels)) {
				continue
			}
			found = true
			for _, p := range s.Spec.Ports {
				checkPort(t, w, w.pod.Spec.Containers[0], p.TargetPort)
			}
		}
		if !found {
			t.Errorf("service %s selects %s: no pod", s.Name, maps.Collect(maps.All(s.Spec.Selector)))
		}
	}
}
