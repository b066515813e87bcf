package written

import (
	"context"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// Read reads files, the files of directories, and standard input, which is "-". namespace is
// that of objects without one.
func Read(names []string, stdin io.Reader, namespace string) (*Set, error) {
	all, err := readManifests(names, stdin)
	if err != nil {
		return nil, err
	}
	s := &Set{}
	for _, m := range all {
		if _, err := s.add(m, namespace); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// lists are the kinds that can say which networks pods have. Pods that a controller has made
// say it again.
var lists = []schema.GroupVersionResource{
	{Group: "k8s.cni.cncf.io", Version: "v1", Resource: "network-attachment-definitions"},
	{Version: "v1", Resource: "pods"},
	{Group: "apps", Version: "v1", Resource: "deployments"},
	{Group: "apps", Version: "v1", Resource: "daemonsets"},
	{Group: "apps", Version: "v1", Resource: "statefulsets"},
	{Group: "batch", Version: "v1", Resource: "jobs"},
	{Group: "batch", Version: "v1", Resource: "cronjobs"},
}

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

// pageSize limits how much is asked of the API server at once.
const pageSize = 500

// FromCluster reads all NADs, pods and templates of pods of a cluster, and the cluster's
// configuration.
func FromCluster(ctx context.Context, config *rest.Config) (*Set, error) {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	s := &Set{Whole: true}
	for i, kind := range lists {
		err := s.list(ctx, client, kind)
		if err != nil && i < needed {
			return nil, fmt.Errorf("%s: %w", kind.Resource, err)
		}
		s.cannot(kind.Resource, err)
	}
	s.cannot("the cluster's configuration", s.addCluster(ctx, client))
	return s, s.addForeign(ctx, client)
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

// needed is how many of lists there must be.
const needed = 2

// cannot notes what cannot be seen.
func (s *Set) cannot(what string, err error) {
	if err != nil {
		s.unseen = append(s.unseen, fmt.Sprintf("%s: %v", what, err))
	}
}

// addCluster adds the cluster's configuration, which the installer's ConfigMap has.
func (s *Set) addCluster(ctx context.Context, client dynamic.Interface) error {
	maps, err := client.Resource(configMaps).Namespace(systemNamespace).List(ctx, metav1.ListOptions{})
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

// systemNamespace is where deploy puts everything.
const systemNamespace = "multibond-system"

func (s *Set) list(ctx context.Context, client dynamic.Interface, kind schema.GroupVersionResource) error {
	options := metav1.ListOptions{Limit: pageSize}
	for {
		page, err := client.Resource(kind).List(ctx, options)
		if err != nil {
			return err
		}
		for _, item := range page.Items {
			if isRepeated(item) {
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

// isRepeated reports whether an object needs no look: what it was made from is looked at, or
// it has ended.
func isRepeated(item unstructured.Unstructured) bool {
	phase, _, _ := unstructured.NestedString(item.Object, "status", "phase")
	ended := phase == string(corev1.PodSucceeded) || phase == string(corev1.PodFailed)
	return metav1.GetControllerOf(&item) != nil || ended
}

func (s *Set) addItem(item unstructured.Unstructured) error {
	raw, err := item.MarshalJSON()
	if err == nil {
		_, err = s.add(manifest{raw: raw}, item.GetNamespace())
	}
	return err
}

// OnePod reads one pod of a cluster, all NADs, and the cluster's configuration.
func OnePod(ctx context.Context, config *rest.Config, namespace, name string) (*Set, error) {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	s := &Set{Whole: true}
	pod, err := client.Resource(lists[1]).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if err := s.addItem(*pod); err != nil {
		return nil, err
	}
	if err := s.list(ctx, client, lists[0]); err != nil {
		return nil, fmt.Errorf("%s: %w", lists[0].Resource, err)
	}
	s.cannot("the cluster's configuration", s.addCluster(ctx, client))
	return s, nil
}
