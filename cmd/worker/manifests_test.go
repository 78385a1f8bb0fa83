package main

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// manifest is what the tests look at in files of deploy/kubernetes and deploy/compose.
type manifest struct {
	Spec struct {
		Template struct {
			Spec struct {
				Containers []struct {
					Args                                        []string
					Env                                         []struct{ Name string }
					StartupProbe, LivenessProbe, ReadinessProbe struct {
						HTTPGet struct{ Path string } `yaml:"httpGet"`
					}
				}
			}
		}
		Triggers []struct {
			Metadata struct{ Query, Threshold string }
		}
	}
	Services map[string]struct {
		Build       struct{ Context, Dockerfile, Target string }
		Environment map[string]string
	}
}

func readManifest(t *testing.T, name ...string) (m manifest) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{deployFolder}, name...)...))
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, &m))
	return m
}

// settings are the variables that the program knows.
func settingNames() map[string]bool {
	known := map[string]bool{"XDG_CACHE_HOME": true}
	for _, s := range everySetting() {
		for _, f := range s.Fields() {
			known[f.Variable] = true
		}
	}
	return known
}

// What deploy/ asks of the program is there.
func TestDeployedFilesFitTheProgram(t *testing.T) {
	known := settingNames()
	_, c := serve(t, newHome(t), openGate)
	c.ready()
	pod := readManifest(t, "kubernetes", "deployment.yaml").Spec.Template.Spec.Containers[0]
	require.Equal(t, []string{serveVerb.Name}, pod.Args)
	for _, e := range pod.Env {
		require.True(t, known[e.Name], e.Name)
	}
	for _, path := range []string{pod.StartupProbe.HTTPGet.Path, pod.LivenessProbe.HTTPGet.Path, pod.ReadinessProbe.HTTPGet.Path} {
		require.Equal(t, http.StatusOK, c.get(path).status, path)
	}
	for _, name := range []string{"cuda.yaml", "vulkan.yaml"} {
		for _, s := range readManifest(t, "compose", name).Services {
			folder := filepath.Join(deployFolder, "compose", s.Build.Context)
			require.Equal(t, project, folder)
			file, err := os.ReadFile(filepath.Join(folder, s.Build.Dockerfile))
			require.NoError(t, err)
			if s.Build.Target != "" {
				require.Contains(t, string(file), " AS "+s.Build.Target+"\n")
			}
			for variable := range s.Environment {
				require.True(t, known[variable], variable)
			}
		}
	}
	unit, err := os.ReadFile(filepath.Join(deployFolder, "systemd", "sdworker.service"))
	require.NoError(t, err)
	for _, m := range regexp.MustCompile(`(?m)^Environment=(.*)$`).FindAllStringSubmatch(string(unit), -1) {
		for pair := range strings.FieldsSeq(m[1]) {
			name, _, _ := strings.Cut(pair, "=")
			require.True(t, known[name], name)
		}
	}
}

// KEDA's query counts the jobs of all workers.
func TestScalingQuery(t *testing.T) {
	trigger := readManifest(t, "kubernetes", "scaledobject.yaml").Spec.Triggers[0].Metadata
	db := newSamples(t)
	db.described(`sdworker_queue_jobs{job="sdworker",pod="a",state="waiting"} 5`)
	db.described(`sdworker_queue_jobs{job="sdworker",pod="a",state="running"} 8`)
	db.described(`sdworker_queue_jobs{job="sdworker",pod="b",state="running"} 3`)
	found := db.query(trigger.Query, 0)
	require.Len(t, found, 1)
	require.InDelta(t, 16, found[0].F, 0)
	require.NotEmpty(t, scrapedWorker(t).query(trigger.Query, 3))
}
