// Package manifests checks deploy/kubernetes against the types of the APIs that read it.
package manifests

import (
	"os"
	"path/filepath"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

// strict decodes a manifest into the type of its kind; a field that the type does not
// have is an error.
func strict[T any](t *testing.T, name string) T {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../deploy/kubernetes", name))
	if err != nil {
		t.Fatal(err)
	}
	var out T
	if err := yaml.UnmarshalStrict(text, &out); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return out
}

func TestManifestsAreOfTheirKinds(t *testing.T) {
	d := strict[apps.Deployment](t, "deployment.yaml")
	pod := d.Spec.Template.Spec
	if len(pod.Containers) != 1 || pod.Containers[0].Lifecycle.PreStop.Sleep.Seconds >= *pod.TerminationGracePeriodSeconds {
		t.Error("one container, which has time to end after its preStop")
	}
	gpu := pod.Containers[0].Resources.Limits["nvidia.com/gpu"]
	if gpu.Cmp(resource.MustParse("1")) != 0 {
		t.Errorf("%s GPUs, want 1", gpu.String())
	}
	s := strict[core.Service](t, "service.yaml")
	if s.Spec.Ports[0].TargetPort.StrVal != pod.Containers[0].Ports[0].Name {
		t.Error("the service's port is not the container's")
	}
	m := strict[monitoring.PodMonitor](t, "podmonitor.yaml")
	if *m.Spec.PodMetricsEndpoints[0].Port != pod.Containers[0].Ports[0].Name {
		t.Error("the monitor's port is not the container's")
	}
	for key, value := range d.Spec.Selector.MatchLabels {
		if d.Spec.Template.Labels[key] != value || s.Spec.Selector[key] != value || m.Spec.Selector.MatchLabels[key] != value {
			t.Errorf("label %s is not %s everywhere", key, value)
		}
	}
}
