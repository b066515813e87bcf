package kubeclient

import (
	"fmt"
	"slices"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
)

// systemNamespace is where the cluster's own networks are by default.
const systemNamespace = "kube-system"

// defaultInterface is a pod's first interface where a meta plugin that calls
// us for another one does not say its name.
const defaultInterface = "eth0"

// podNetworks is all that a pod is to get.
type podNetworks struct {
	elements   []Element
	hasDefault bool // the first of elements is the pod's default network
}

// networksOf collects a pod's networks in the order in which they are attached:
// the default network where the pod or the cluster names a NAD, the networks
// that the cluster gives to every pod, those of the pod's annotation. The
// errors' code is 7.
func networksOf(pod *corev1.Pod, l agentapi.Lookup) (podNetworks, error) {
	first := l.IfName
	if l.Secondary {
		first = defaultInterface
	}
	cluster := l.Cluster
	if cluster.Namespace == "" {
		cluster.Namespace = systemNamespace
	}
	n, err := defaultOf(pod, cluster, first)
	if err != nil && !l.Secondary {
		return n, cnierror.With(cnitypes.ErrInvalidNetworkConfig, err)
	}
	taken := []string{first}
	for i, name := range defaultsOf(pod, cluster) {
		e := clusterElement(fmt.Sprintf("defaultNetworks[%d]", i), name, cluster.Namespace)
		e.Interface = fmt.Sprintf("net%d", len(taken))
		taken = append(taken, e.Interface)
		n.elements = append(n.elements, e)
	}
	own, problems := readNetworks(pod.Annotations[NetworksAnnotation], pod.Namespace, taken)
	if l.Secondary {
		problems = aboutInterface(own, l.IfName, problems)
	}
	err = annotationError(problems)
	n.elements = append(n.elements, own...)
	return n, cnierror.With(cnitypes.ErrInvalidNetworkConfig, err)
}

func defaultOf(pod *corev1.Pod, cluster agentapi.Cluster, ifName string) (n podNetworks, err error) {
	var e Element
	switch annotation := pod.Annotations[DefaultNetworkAnnotation]; {
	case annotation != "":
		if e, err = ParseDefaultNetwork(annotation, pod.Namespace, cluster.Namespace, ifName); err != nil {
			return n, err
		}
	case cluster.Network != "":
		e = clusterElement("clusterNetwork", cluster.Network, cluster.Namespace)
		e.Interface = ifName
	default:
		return n, nil
	}
	return podNetworks{elements: []Element{e}, hasDefault: true}, nil
}

// defaultsOf are the networks of every pod but those of the system.
func defaultsOf(pod *corev1.Pod, cluster agentapi.Cluster) []string {
	system := cluster.System
	if system == nil {
		system = []string{systemNamespace}
	}
	if slices.Contains(system, pod.Namespace) {
		return nil
	}
	return cluster.Defaults
}

// clusterElement is a network that the cluster's administrator names.
func clusterElement(path, name, namespace string) Element {
	return Element{Path: path, Network: types.NamespacedName{Namespace: namespace, Name: name}, Namespaces: []string{namespace}, OrFile: true}
}
