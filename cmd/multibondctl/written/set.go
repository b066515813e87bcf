// Package written reads what users wrote, in files or in a cluster: NADs, pods and what pods
// are made from, and the cluster's configuration. It judges them with the code that runs for
// an ADD.
package written

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/kubeclient"
)

// Set is what users wrote, in files or in a cluster.
type Set struct {
	nads     []nad
	pods     []pod
	clusters []clusterConfig

	// What only Migrate reads.
	multiNICs []multiNIC
	multus    []clusterConfig

	// Whole says that NADs that are not here do not exist. Otherwise that holds for the
	// namespaces that have some here.
	Whole bool

	// Agents is the namespace of the agents, in which the cluster's configuration is.
	Agents string

	// Has reports whether a node has a CNI plugin, and whether that is known. nil: it never is.
	Has func(node, plugin string) (has, known bool)

	unseen []string           // what could not be read, and why
	read   map[types.UID]bool // what was read of a cluster, or is made from it
}

// Object is where something is written.
type Object struct {
	Place string `json:"file,omitempty"` // "bond.yaml:12"
	Kind  string `json:"kind"`
	Name  string `json:"name"` // with its namespace
	order int
}

type nad struct {
	Object
	nettypes.NetworkAttachmentDefinition
}

// pod is a pod, or what pods are made from.
type pod struct {
	Object
	corev1.Pod
	future bool // admission can still add resources
	raw    json.RawMessage
	at     []string // where raw has the metadata of the pod
}

type clusterConfig struct {
	Object
	raw json.RawMessage
}

// size returns how many objects there are.
func (w *Set) size() int { return len(w.nads) + len(w.pods) + len(w.clusters) }

// meta is what tells what an object is.
type meta struct {
	Kind     string
	Metadata metav1.ObjectMeta
}

// ofKubernetes are the kinds of Kubernetes that have a template of pods. Its form is known.
var ofKubernetes = []string{"Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "ReplicationController", "Job", "CronJob", "PodTemplate"}

// templatePlaces are where objects have the template of their pods.
var templatePlaces = [][]string{{"spec", "template"}, {"spec", "jobTemplate", "spec", "template"}, {"template"}}

// templateIn returns the template of pods in an object, and where it is. at is nil if it has
// none.
func templateIn(raw json.RawMessage) (t template, at []string, err error) {
	for _, at := range templatePlaces {
		inner := raw
		for _, word := range at {
			var o map[string]json.RawMessage
			_ = json.Unmarshal(inner, &o) // what is no object has no template
			inner = o[word]
		}
		if inner != nil {
			err := json.Unmarshal(inner, &t)
			return t, at, err
		}
	}
	return t, nil, nil
}

// template is the template of pods. Other kinds than those of Kubernetes have one too, whose
// spec may be anything.
type template struct {
	Metadata metav1.ObjectMeta
	Spec     json.RawMessage
}

// add adds an object. namespace is that of objects without one. It returns false if the
// object is of no interest, whatever its form.
func (w *Set) add(m manifest, namespace string) (bool, error) {
	var o meta
	wrong := json.Unmarshal(m.raw, &o) // it reads the kind even then
	o.Metadata.Namespace = cmp.Or(o.Metadata.Namespace, namespace)
	is := Object{m.place, o.Kind, o.Metadata.Namespace + "/" + o.Metadata.Name, w.size()}
	switch o.Kind {
	case "":
		return isConfig(m) && w.addConfig(is, m), nil
	case "NetworkAttachmentDefinition":
		n := nad{Object: is}
		n.Kind = "NAD"
		err := json.Unmarshal(m.raw, &n.NetworkAttachmentDefinition)
		n.Namespace = o.Metadata.Namespace
		w.nads = append(w.nads, n)
		return true, placed(m.place, err)
	case "Pod":
		p := pod{Object: is, future: o.Metadata.UID == "", raw: m.raw}
		err := json.Unmarshal(m.raw, &p.Pod)
		p.Namespace = o.Metadata.Namespace
		w.pods = append(w.pods, p)
		return true, placed(m.place, err)
	case "MultiNicNetwork":
		return true, placed(m.place, cmp.Or(wrong, w.addMultiNIC(is, o.Metadata, m.raw)))
	case "ConfigMap":
		var config struct{ Data map[string]string }
		err := json.Unmarshal(m.raw, &config)
		return w.addConfigMap(is, config.Data), placed(m.place, cmp.Or(wrong, err))
	}
	t, at, err := templateIn(m.raw)
	switch err = cmp.Or(wrong, err); {
	case at == nil || err != nil && !slices.Contains(ofKubernetes, o.Kind):
		return false, nil
	case err != nil:
		return false, placed(m.place, err)
	}
	p := t.pod(is, o.Metadata)
	p.raw, p.at = m.raw, at
	w.pods = append(w.pods, p)
	return true, nil
}

func placed(place string, err error) error {
	if err != nil && place != "" {
		return fmt.Errorf("%s: %w", place, err)
	}
	return err
}

// pod returns a pod that is made from the template.
func (t template) pod(is Object, owner metav1.ObjectMeta) pod {
	p := pod{Object: is, future: true}
	p.ObjectMeta = t.Metadata
	p.Namespace, p.Pod.Name = owner.Namespace, owner.Name
	// The spec of a kind that is not Kubernetes' own has another form, and no containers.
	_ = json.Unmarshal(t.Spec, &p.Spec)
	return p
}

// addConfigMap adds the cluster's configurations in a ConfigMap.
func (w *Set) addConfigMap(is Object, data map[string]string) (added bool) {
	for _, key := range slices.Sorted(maps.Keys(data)) {
		text := data[key]
		if raw, its := clusterIn([]byte(text), ours); its {
			w.clusters, added = append(w.clusters, clusterConfig{is, raw}), true
		}
		added = w.addMultus(is, []byte(text)) || added
	}
	return added
}

// ours are the types of plugins that Multibond is called by.
var ours = []string{"multibond"}

// isConfig reports whether an object without a kind is a CNI configuration: by the name of its
// file, or by its form and cniVersion.
func isConfig(m manifest) bool {
	var keys map[string]json.RawMessage
	var config struct {
		Type, CNIVersion string
		Plugins          []struct{ Type string }
	}
	fits := json.Unmarshal(m.raw, &config) == nil && config.CNIVersion != ""
	if json.Unmarshal(m.raw, &keys) != nil || keys["type"] == nil && keys["plugins"] == nil {
		return false
	}
	file := m.place[:max(0, strings.LastIndex(m.place, ":"))]
	return fits || slices.Contains([]string{".conf", ".conflist"}, filepath.Ext(file))
}

// addConfig adds a CNI configuration that is no object of Kubernetes.
func (w *Set) addConfig(is Object, m manifest) bool {
	file, _, _ := strings.Cut(filepath.Base(m.place), ":")
	is.Kind, is.Name = "configuration", file
	if raw, its := clusterIn(m.raw, ours); its {
		w.clusters = append(w.clusters, clusterConfig{is, raw})
		return true
	}
	if w.addMultus(is, m.raw) {
		return true
	}
	n := nad{Object: is}
	n.Spec.Config = string(m.raw)
	n.NetworkAttachmentDefinition.Name = "configuration"
	w.nads = append(w.nads, n)
	return true
}

// clusterIn returns the cluster's configuration in a CNI configuration, single or in a list,
// of one of the types.
func clusterIn(raw []byte, types []string) (json.RawMessage, bool) {
	var list struct {
		Name       string
		CNIVersion string
		Plugins    []map[string]json.RawMessage
	}
	var single map[string]json.RawMessage
	if json.Unmarshal(raw, &list) != nil || json.Unmarshal(raw, &single) != nil {
		return nil, false
	}
	plugins := list.Plugins
	if plugins == nil {
		plugins = append(plugins, single)
	}
	for _, p := range plugins {
		if !hasType(p, types) || !isCluster(p) {
			continue
		}
		for key, value := range map[string]string{"name": list.Name, "cniVersion": list.CNIVersion} {
			if _, there := p[key]; !there {
				p[key], _ = json.Marshal(value)
			}
		}
		text, err := json.Marshal(p)
		return text, err == nil
	}
	return nil, false
}

// isCluster reports whether a plugin's configuration names the cluster's default network.
func isCluster(plugin map[string]json.RawMessage) bool {
	for _, key := range []string{"defaultNetwork", "clusterNetwork", "delegates"} {
		if _, there := plugin[key]; there {
			return true
		}
	}
	return false
}

func hasType(plugin map[string]json.RawMessage, types []string) bool {
	for _, t := range types {
		if string(plugin["type"]) == `"`+t+`"` {
			return true
		}
	}
	return false
}

// judge returns what judges the pods and NADs.
func (w *Set) judge(cluster agentapi.Cluster) kubeclient.Judge {
	nads, namespaces := map[types.NamespacedName]*nettypes.NetworkAttachmentDefinition{}, map[string]bool{}
	for i := range w.nads {
		n := &w.nads[i].NetworkAttachmentDefinition
		nads[types.NamespacedName{Namespace: n.Namespace, Name: n.Name}], namespaces[n.Namespace] = n, true
	}
	return kubeclient.Judge{Cluster: cluster, NAD: func(name types.NamespacedName) (*nettypes.NetworkAttachmentDefinition, error) {
		switch n, there := nads[name]; {
		case there:
			return n, nil
		case w.Whole || namespaces[name.Namespace]:
			return nil, apierrors.NewNotFound(schema.GroupResource{Group: nettypes.SchemeGroupVersion.Group, Resource: "network-attachment-definitions"}, name.String())
		}
		return nil, kubeclient.ErrUnseen
	}}
}
