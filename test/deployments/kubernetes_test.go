package deployments

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	security "k8s.io/pod-security-admission/api"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

func kustomize(t *testing.T, dir string) *objects {
	t.Helper()
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "../../deployments/kubernetes/"+dir)
	if err != nil {
		t.Fatal(err)
	}
	text, err := rendered.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	o, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// R014, R147, R148, R153: every kustomization renders to objects that the API takes,
// that fit together, and that their namespace admits.
func TestKustomizations(t *testing.T) {
	for dir, want := range map[string]struct {
		level     security.Level
		workloads []string
	}{
		"base":                  {security.LevelRestricted, []string{"Deployment action-agent", "Deployment sensor-agent"}},
		"server":                {security.LevelRestricted, []string{"StatefulSet stavily-server"}},
		"overlays/complete":     {security.LevelRestricted, []string{"Deployment action-agent", "Deployment sensor-agent", "StatefulSet stavily-server"}},
		"overlays/full-sandbox": {security.LevelPrivileged, []string{"Deployment action-agent", "Deployment sensor-agent"}},
		"overlays/host-view":    {security.LevelPrivileged, []string{"Deployment action-agent", "Deployment sensor-agent"}},
		"overlays/daemonset":    {security.LevelPrivileged, []string{"DaemonSet action-agent", "DaemonSet sensor-agent"}},
	} {
		t.Run(strings.ReplaceAll(dir, "/", " "), func(t *testing.T) {
			o := kustomize(t, dir)
			for _, n := range o.namespaces {
				if got := n.Labels["pod-security.kubernetes.io/enforce"]; got != string(want.level) || n.Name != "stavily-agents" {
					t.Errorf("namespace %s of level %q, want stavily-agents of %q", n.Name, got, want.level)
				}
			}
			var got []string
			for _, w := range o.workloads() {
				got = append(got, w.kind+" "+w.name)
			}
			if slices.Sort(got); !slices.Equal(got, want.workloads) {
				t.Errorf("workloads %q, want %q", got, want.workloads)
			}
			for _, d := range o.deployments {
				if d.Namespace != "stavily-agents" || *d.Spec.Replicas != 1 || d.Spec.Strategy.Type != "Recreate" {
					t.Errorf("%s/%s: %d replicas, strategy %s: an agent is one process over one volume", d.Namespace, d.Name, *d.Spec.Replicas, d.Spec.Strategy.Type)
				}
			}
			o.check(t, want.level)
		})
	}
}

// R150, R151, R152: the sensor agent as the original README deploys it.
func TestSensorDeploymentOfTheOriginal(t *testing.T) {
	o := kustomize(t, "overlays/host-view")
	i := slices.IndexFunc(o.workloads(), func(w workload) bool { return w.name == "sensor-agent" })
	pod := o.workloads()[i].pod.Spec
	c := pod.Containers[0]
	for path, readOnly := range map[string]bool{
		"/app/agent-sensor-001": false, "/app/agent-sensor-001/config": true, "/app/agent-sensor-001/certificates": true,
		"/app/agent-sensor-001/logs": false, "/host/proc": true, "/host/sys": true,
	} {
		if !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == path && m.ReadOnly == readOnly }) {
			t.Errorf("nothing mounted at %s with readOnly: %v", path, readOnly)
		}
	}
	for name, right := range map[string]func(corev1.Volume) bool{
		"data":         func(v corev1.Volume) bool { return v.PersistentVolumeClaim != nil },
		"config":       func(v corev1.Volume) bool { return v.ConfigMap != nil },
		"certificates": func(v corev1.Volume) bool { return v.Secret != nil && v.Secret.SecretName == "agent-certificates" },
		"logs":         func(v corev1.Volume) bool { return v.EmptyDir != nil },
		"host-proc":    func(v corev1.Volume) bool { return v.HostPath != nil && v.HostPath.Path == "/proc" },
	} {
		if !slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == name && right(v) }) {
			t.Errorf("volume %s is not what it was", name)
		}
	}
	want := map[corev1.ResourceName][2]string{"cpu": {"100m", "500m"}, "memory": {"128Mi", "512Mi"}}
	for name, of := range want {
		request, limit := c.Resources.Requests[name], c.Resources.Limits[name]
		if request.String() != of[0] || limit.String() != of[1] {
			t.Errorf("%s %s to %s, want %v", name, request.String(), limit.String(), of)
		}
	}
	claim := o.claims[slices.IndexFunc(o.claims, func(c *corev1.PersistentVolumeClaim) bool { return c.Name == "sensor-agent-data" })]
	if size := claim.Spec.Resources.Requests["storage"]; size.String() != "10Gi" || claim.Spec.AccessModes[0] != corev1.ReadWriteOnce || claim.Spec.StorageClassName != nil {
		t.Errorf("claim %+v, want 10Gi ReadWriteOnce of the cluster's own class", claim.Spec)
	}
}

// F35: each node's agents have identities of their own.
func TestIdentityOfANode(t *testing.T) {
	o := kustomize(t, "overlays/daemonset")
	for _, w := range o.workloads() {
		if got, want := o.load(t, w).Config.Agent.ID, string(agentType(w))+"-node-1"; string(got) != want {
			t.Errorf("%s: the agent on node-1 is %q, want %q", w.name, got, want)
		}
	}
}
