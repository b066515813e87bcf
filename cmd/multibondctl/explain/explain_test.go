package explain

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/bond/doctable"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/kubeclient"
)

// TestPages: each code has one page, in order, whose group is known.
func TestPages(t *testing.T) {
	source, err := os.ReadFile("../../../bond/code/code.go")
	require.NoError(t, err)
	var want, got []int
	for _, m := range regexp.MustCompile(`Code = (\d+)`).FindAllSubmatch(source, -1) {
		n, _ := strconv.Atoi(string(m[1]))
		want = append(want, n)
	}
	for _, p := range Pages {
		got = append(got, int(p.Code))
		assert.NotEmpty(t, p.Title, p.Code)
		assert.NotEmpty(t, p.Text, p.Code)
		assert.Contains(t, Groups, int(p.Code)/100)
		found, err := Find(p.Code.String())
		require.NoError(t, err)
		assert.Equal(t, p, found)
	}
	slices.Sort(want)
	assert.Equal(t, want, got)
	_, err = Find("MB999")
	assert.ErrorContains(t, err, "there is no code")
}

func TestREADME(t *testing.T) {
	rows := [][]string{{"code", "problem"}}
	for _, p := range Pages {
		rows = append(rows, []string{"`" + p.Code.String() + "`", p.Title})
	}
	doctable.Check(t, filepath.Join("README.md"), "codes", rows)
}

// TestExamples: the mistake of each example has the page's code, and the remedy has no
// problem at all.
func TestExamples(t *testing.T) {
	tried := 0
	for _, p := range Pages {
		if p.In == "" {
			assert.Empty(t, p.Mistake+p.Remedy, p.Code)
			continue
		}
		tried++
		assert.Contains(t, codesOf(t, p.In, p.Mistake), p.Code, "%s: %s", p.Code, p.Mistake)
		assert.Empty(t, codesOf(t, p.In, p.Remedy), "%s: %s", p.Code, p.Remedy)
	}
	assert.Greater(t, tried, 70)
}

// storage is the network that examples change, or name.
const storage = `{"cniVersion": "1.0.0", "name": "storage", "type": "multibond",
	"links": [{"resourceName": "intel.com/a"}, {"resourceName": "intel.com/b"}], "ipam": {"type": "host-local", "subnet": "10.56.217.0/24"}}`

// codesOf returns the codes of all that is wrong with an example.
func codesOf(t *testing.T, in, example string) []code.Code {
	switch in {
	case Network:
		var keys, fields map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(storage), &fields))
		require.NoError(t, json.Unmarshal([]byte(example), &keys), example)
		maps.Copy(fields, keys)
		maps.DeleteFunc(fields, func(_ string, raw json.RawMessage) bool { return string(raw) == "null" })
		raw, err := json.Marshal(fields)
		require.NoError(t, err)
		if _, there := fields["links"]; !there {
			_, err := netconf.Parse(raw, "net1")
			return code.Of(err)
		}
		judged := judge().One(nad(string(raw)))
		return append(code.Of(judged.Err), warned(judged.Warnings)...)
	case Annotation:
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "p", Annotations: map[string]string{kubeclient.NetworksAnnotation: example}}}
		all, err := judge().Pod(pod, true)
		codes := code.Of(err)
		for _, one := range all {
			codes = append(append(codes, code.Of(one.Err)...), warned(one.Warnings)...)
		}
		return codes
	case Cluster:
		c, err := netconf.ParseCluster([]byte(example))
		return append(code.Of(err), warned(c.Warnings)...)
	}
	t.Fatalf("an example is in %q", in)
	return nil
}

func warned(warnings bond.Problems) []code.Code { return code.Of(warnings.Err()) }

func nad(config string) *nettypes.NetworkAttachmentDefinition {
	return &nettypes.NetworkAttachmentDefinition{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "storage"}, Spec: nettypes.NetworkAttachmentDefinitionSpec{Config: config}}
}

// judge has one NAD, storage.
func judge() kubeclient.Judge {
	return kubeclient.Judge{NAD: func(name types.NamespacedName) (*nettypes.NetworkAttachmentDefinition, error) {
		if name.Name == "storage" {
			return nad(storage), nil
		}
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "network-attachment-definitions"}, name.Name)
	}}
}
