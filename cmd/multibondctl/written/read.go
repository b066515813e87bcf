package written

import (
	"context"
	"errors"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// SystemNamespace is where deploy puts everything.
const SystemNamespace = "multibond-system"

// Read reads files, the files of directories, and standard input, which is "-". namespace is
// that of objects without one.
func Read(names []string, stdin io.Reader, namespace string) (*Set, error) {
	all, err := readManifests(names, stdin)
	if err != nil {
		return nil, err
	}
	s := &Set{Agents: SystemNamespace}
	for _, m := range all {
		if _, err := s.add(m, namespace); err != nil {
			return nil, err
		}
	}
	return s, nil
}

var (
	nadKind = schema.GroupVersionResource{Group: "k8s.cni.cncf.io", Version: "v1", Resource: "network-attachment-definitions"}
	podKind = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
)

// owners are the kinds that pods are made from. Each comes after those that own it.
var owners = []schema.GroupVersionResource{
	{Group: "apps", Version: "v1", Resource: "deployments"},
	{Group: "apps", Version: "v1", Resource: "daemonsets"},
	{Group: "apps", Version: "v1", Resource: "statefulsets"},
	{Group: "apps", Version: "v1", Resource: "replicasets"},
	{Group: "batch", Version: "v1", Resource: "cronjobs"},
	{Group: "batch", Version: "v1", Resource: "jobs"},
}

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

// pageSize limits how much is asked of the API server at once.
const pageSize = 500

// FromCluster reads all NADs, pods and templates of pods of a cluster, and the cluster's
// configuration, which is in the namespace of the agents.
func FromCluster(ctx context.Context, config *rest.Config, agents string) (*Set, error) {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	s := &Set{Whole: true, Agents: agents, read: map[types.UID]bool{}}
	for _, kind := range owners {
		s.cannot(kind.Resource, s.list(ctx, client, kind))
	}
	for _, kind := range []schema.GroupVersionResource{nadKind, podKind} {
		if err := s.list(ctx, client, kind); err != nil {
			return nil, fmt.Errorf("%s: %w", kind.Resource, orNoKind(err))
		}
	}
	s.cannot("the cluster's configuration", s.addCluster(ctx, client))
	return s, s.addForeign(ctx, client)
}

// orNoKind returns err, or what it means if the cluster does not know the kind of object that was
// asked for.
func orNoKind(err error) error {
	if apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) {
		return errors.New("this cluster does not know this kind: install Multibond, or deploy/crd.yaml alone")
	}
	return err
}

// addForeign adds what only Migrate reads, if the cluster has it.
func (s *Set) addForeign(ctx context.Context, client dynamic.Interface) error {
	if err := s.list(ctx, client, schema.GroupVersionResource{Group: "multinic.fms.io", Version: "v1", Resource: "multinicnetworks"}); !apierrors.IsNotFound(err) {
		s.cannot("multinicnetworks", err)
	}
	for _, name := range []string{"multus-cni-config", "multus-daemon-config"} {
		config, err := client.Resource(configMaps).Namespace(metav1.NamespaceSystem).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			continue // a cluster without Multus
		}
		if err := s.addItem(*config); err != nil {
			return err
		}
	}
	return nil
}

// cannot notes what cannot be seen.
func (s *Set) cannot(what string, err error) {
	if err != nil {
		s.unseen = append(s.unseen, fmt.Sprintf("%s: %v", what, err))
	}
}

// addCluster adds the cluster's configuration, which the installer's ConfigMap has.
func (s *Set) addCluster(ctx context.Context, client dynamic.Interface) error {
	maps, err := client.Resource(configMaps).Namespace(s.Agents).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("configmaps: %w", err)
	}
	for _, item := range maps.Items {
		if err := s.addItem(item); err != nil {
			return err
		}
	}
	return nil
}

func (s *Set) list(ctx context.Context, client dynamic.Interface, kind schema.GroupVersionResource) error {
	options := metav1.ListOptions{Limit: pageSize}
	for {
		page, err := client.Resource(kind).List(ctx, options)
		if err != nil {
			return err
		}
		for _, item := range page.Items {
			if hasEnded(item) || kind != nadKind && s.isRepeated(item) {
				continue
			}
			if err := s.addItem(item); err != nil {
				return err
			}
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return nil
		}
	}
}

// hasEnded reports whether an object is a pod that has ended.
func hasEnded(item unstructured.Unstructured) bool {
	phase, _, _ := unstructured.NestedString(item.Object, "status", "phase")
	return item.GetKind() == "Pod" && (phase == string(corev1.PodSucceeded) || phase == string(corev1.PodFailed))
}

// isRepeated reports whether what an object was made from, or what that was made from, has
// been read. It notes that the object is read.
func (s *Set) isRepeated(item unstructured.Unstructured) bool {
	s.read[item.GetUID()] = true
	owner := metav1.GetControllerOf(&item)
	return owner != nil && owner.UID != "" && s.read[owner.UID]
}

func (s *Set) addItem(item unstructured.Unstructured) error {
	raw, err := item.MarshalJSON()
	if err == nil {
		_, err = s.add(manifest{raw: raw}, item.GetNamespace())
	}
	return err
}

// OnePod reads one pod of a cluster, all NADs, and the cluster's configuration, which is in the
// namespace of the agents.
func OnePod(ctx context.Context, config *rest.Config, agents, namespace, name string) (*Set, error) {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	s := &Set{Whole: true, Agents: agents}
	pod, err := client.Resource(podKind).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if err := s.addItem(*pod); err != nil {
		return nil, err
	}
	if err := s.list(ctx, client, nadKind); err != nil {
		return nil, fmt.Errorf("%s: %w", nadKind.Resource, err)
	}
	s.cannot("the cluster's configuration", s.addCluster(ctx, client))
	return s, nil
}
