package deployments

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	strict "sigs.k8s.io/yaml"
)

// objects are the documents of a deployment, by what they are.
type objects struct {
	namespaces   []*corev1.Namespace
	configMaps   []*corev1.ConfigMap
	claims       []*corev1.PersistentVolumeClaim
	services     []*corev1.Service
	deployments  []*appsv1.Deployment
	daemonSets   []*appsv1.DaemonSet
	statefulSets []*appsv1.StatefulSet
}

// workload is what the kinds that make pods have in common.
type workload struct {
	kind, name string
	labels     map[string]string
	selector   map[string]string
	pod        corev1.PodTemplateSpec
	claims     []corev1.PersistentVolumeClaim
}

func (o *objects) workloads() []workload {
	var out []workload
	for _, d := range o.deployments {
		out = append(out, workload{"Deployment", d.Name, d.Labels, d.Spec.Selector.MatchLabels, d.Spec.Template, nil})
	}
	for _, d := range o.daemonSets {
		out = append(out, workload{"DaemonSet", d.Name, d.Labels, d.Spec.Selector.MatchLabels, d.Spec.Template, nil})
	}
	for _, s := range o.statefulSets {
		out = append(out, workload{"StatefulSet", s.Name, s.Labels, s.Spec.Selector.MatchLabels, s.Spec.Template, s.Spec.VolumeClaimTemplates})
	}
	return out
}

// decode refuses what the API has no field for, and kinds that no manifest of ours has.
func decode(manifests []byte) (*objects, error) {
	out := &objects{}
	docs := yaml.NewYAMLReader(newReader(manifests))
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(doc)) == 0 {
			continue
		}
		if err := errors.Join(old(doc), out.add(doc)); err != nil {
			return nil, fmt.Errorf("%w in\n%s", err, doc)
		}
	}
}

// oldFields are the fields that our manifests use; Kubernetes 1.20 has all of them (R147).
// The types here are those of a newer one, which has more.
var oldFields = strings.Fields(`
	accessModes add allowPrivilegeEscalation annotations apiVersion args automountServiceAccountToken capabilities claimName
	command configMap containerPort containers data defaultMode dnsPolicy drop emptyDir enableServiceLinks env exec
	fieldPath fieldRef fsGroup hostNetwork hostPath httpGet image imagePullPolicy initContainers initialDelaySeconds items
	key kind labels limits livenessProbe metadata mountPath name namespace nodeSelector operator optional path periodSeconds
	persistentVolumeClaim port ports projected readinessProbe readOnly readOnlyRootFilesystem replicas requests resources
	runAsGroup runAsNonRoot runAsUser seccompProfile secret secretName securityContext selector serviceName sources spec
	storageClassName strategy targetPort tcpSocket template timeoutSeconds tolerations type value valueFrom
	volumeClaimTemplates volumeMounts volumes`)

// mapFields hold keys of one's own choice; a selector is labels, or has them inside.
var mapFields = []string{"annotations", "data", "labels", "limits", "nodeSelector", "requests", "selector"}

// old refuses a field that nobody has looked up in Kubernetes 1.20.
func old(doc []byte) error {
	var v any
	if err := strict.Unmarshal(doc, &v); err != nil {
		return err
	}
	return oldIn(v)
}

func oldIn(v any) (err error) {
	switch v := v.(type) {
	case map[string]any:
		for name, inside := range v {
			if !slices.Contains(oldFields, name) {
				err = errors.Join(err, fmt.Errorf("%s: see whether Kubernetes 1.20 has this field, and add it to oldFields", name))
			}
			if !slices.Contains(mapFields, name) {
				err = errors.Join(err, oldIn(inside))
			}
		}
	case []any:
		for _, inside := range v {
			err = errors.Join(err, oldIn(inside))
		}
	}
	return err
}

func (o *objects) add(doc []byte) error {
	var is metav1.TypeMeta
	if err := strict.Unmarshal(doc, &is); err != nil {
		return err
	}
	switch is.APIVersion + " " + is.Kind {
	case "v1 Namespace":
		return take(doc, &o.namespaces)
	case "v1 ConfigMap":
		return take(doc, &o.configMaps)
	case "v1 PersistentVolumeClaim":
		return take(doc, &o.claims)
	case "v1 Service":
		return take(doc, &o.services)
	case "apps/v1 Deployment":
		return take(doc, &o.deployments)
	case "apps/v1 DaemonSet":
		return take(doc, &o.daemonSets)
	case "apps/v1 StatefulSet":
		return take(doc, &o.statefulSets)
	}
	return fmt.Errorf("%s %s: a kind that this test does not know: add it", is.APIVersion, is.Kind)
}

func take[T any](doc []byte, into *[]*T) error {
	v := new(T)
	if err := strict.UnmarshalStrict(doc, v); err != nil {
		return err
	}
	*into = append(*into, v)
	return nil
}

// The check of manifests can fail.
func TestDecodeIsStrict(t *testing.T) {
	for what, doc := range map[string]string{
		"unknown field": "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {selektor: {a: b}}\n",
		"wrong type":    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {replicas: one}\n",
		"unknown kind":  "apiVersion: v1\nkind: Pot\nmetadata: {name: x}\n",
		"too new":       "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {template: {spec: {hostUsers: false}}}\n",
		"twice":         "apiVersion: v1\nkind: Service\nkind: Service\nmetadata: {name: x}\n",
	} {
		if _, err := decode([]byte(doc)); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
}
