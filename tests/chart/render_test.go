package chart

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	v2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const (
	deploy = "../../deploy"
	folder = deploy + "/chart"
	system = "multibond-system"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // Helm's, of each symbolic link that it follows
	os.Exit(m.Run())
}

// object is one of Kubernetes, as it was written.
type object map[string]any

// id returns what tells an object from all others.
func (o object) id() string {
	meta, _ := o["metadata"].(map[string]any)
	return fmt.Sprint(o["kind"], " ", meta["namespace"], "/", meta["name"])
}

// objects reads all objects of a text, by their ids.
func objects(t *testing.T, text []byte) map[string]object {
	t.Helper()
	all := map[string]object{}
	for part := range bytes.SplitSeq(append([]byte("\n"), text...), []byte("\n---")) {
		var o object
		require.NoError(t, yaml.UnmarshalStrict(part, &o), "%s", part)
		if len(o) == 0 {
			continue
		}
		require.NotContains(t, all, o.id(), "twice")
		all[o.id()] = o
	}
	return all
}

// install is what helm install does with a chart.
type install struct {
	objects map[string]object
	hooks   map[string]object
	notes   string
}

// load reads the chart.
func load(t *testing.T) *v2.Chart {
	t.Helper()
	chart, err := loader.Load(folder)
	require.NoError(t, err)
	return chart
}

// helm renders the chart with values, as YAML, for a version of Kubernetes.
func helm(t *testing.T, values, namespace, kubernetes string) (install, error) {
	t.Helper()
	return render(t, load(t), values, namespace, kubernetes)
}

// render does what helm does, for a chart that may have been changed.
func render(t *testing.T, chart *v2.Chart, values, namespace, kubernetes string) (install, error) {
	t.Helper()
	var given map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(values), &given))
	version, err := common.ParseKubeVersion(kubernetes)
	require.NoError(t, err)
	top, err := util.ToRenderValues(chart, given, common.ReleaseOptions{Name: "bonds", Namespace: namespace, Revision: 1, IsInstall: true}, &common.Capabilities{KubeVersion: *version})
	if err != nil {
		return install{}, err
	}
	files, err := engine.Render(chart, top)
	if err != nil {
		return install{}, err
	}
	out := install{objects: map[string]object{}, hooks: map[string]object{}}
	for name, text := range files {
		if filepath.Base(name) == "NOTES.txt" {
			out.notes = text
			continue
		}
		for id, o := range objects(t, []byte(text)) {
			into := out.objects
			if annotations, _ := o["metadata"].(map[string]any)["annotations"].(map[string]any); annotations["helm.sh/hook"] != nil {
				into = out.hooks
			}
			require.NotContains(t, into, id, "twice")
			into[id] = o
		}
	}
	for _, crd := range chart.CRDObjects() {
		for id, o := range objects(t, crd.File.Data) {
			out.objects[id] = o
		}
	}
	return out, nil
}

// chart renders the chart for the newest Kubernetes, without an error.
func chart(t *testing.T, values string) install {
	t.Helper()
	out, err := helm(t, values, system, "v1.36.3")
	require.NoError(t, err)
	return out
}

// kustomization renders a folder of an administrator's own with the settings.
func kustomization(t *testing.T, settings string) map[string]object {
	t.Helper()
	top, err := filepath.Abs(deploy)
	require.NoError(t, err)
	own := t.TempDir()
	to, err := filepath.Rel(own, top)
	require.NoError(t, err)
	settings = strings.ReplaceAll(settings, "../deploy", to)
	require.NoError(t, os.WriteFile(filepath.Join(own, "kustomization.yaml"), []byte(settings), 0o600))
	all, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), own)
	require.NoError(t, err)
	text, err := all.AsYaml()
	require.NoError(t, err)
	return objects(t, text)
}

// normalized returns the objects without what does not matter: the order of volumes and of
// mounts, and how the text of the cluster's configuration is laid out.
func normalized(t *testing.T, all map[string]object) map[string]object {
	t.Helper()
	for _, o := range all {
		sortLists(map[string]any(o))
		if data, _ := o["data"].(map[string]any); data != nil {
			if text, is := data["00-multibond.conflist"].(string); is {
				var config any
				require.NoError(t, json.Unmarshal([]byte(text), &config))
				data["00-multibond.conflist"] = config
			}
		}
	}
	return all
}

func sortLists(in any) {
	switch in := in.(type) {
	case map[string]any:
		for key, value := range in {
			if list, is := value.([]any); is && (key == "volumes" || key == "volumeMounts") {
				slices.SortStableFunc(list, func(a, b any) int { return strings.Compare(name(a), name(b)) })
			}
			sortLists(value)
		}
	case []any:
		for _, value := range in {
			sortLists(value)
		}
	}
}

// name returns the name of a volume, or the path of a mount.
func name(of any) string {
	o, _ := of.(map[string]any) // or a kind of volume, in OpenShift's constraints
	if path, is := o["mountPath"].(string); is {
		return path
	}
	text, _ := o["name"].(string)
	return text
}
