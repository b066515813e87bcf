package kubeclient

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8stypes "k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/multibond/multibond/delegate/agentapi"
)

// A Lease is a number of a host: its name has the number, its holder is the node, and its
// owner is the Node, with which it goes. It is never renewed.
const (
	leasePrefix = "multibond-host-"

	// nicsAnnotation has the NICs of the host with their addresses, as JSON.
	nicsAnnotation = "multibond.io/nics"
)

// leaseLabels are those of the Leases. They select them from the Leases of others, which
// are renewed every few seconds.
var leaseLabels = map[string]string{"app.kubernetes.io/name": "multibond", "app.kubernetes.io/component": "host"}

// nodeRef is the Node of an agent.
type nodeRef struct{ Name, UID string }

// leaseOf returns the Lease with which a node takes a number.
func leaseOf(node nodeRef, namespace string, index int, nics string) *coordinationv1.Lease {
	return &coordinationv1.Lease{
		TypeMeta: metav1.TypeMeta{APIVersion: coordinationv1.SchemeGroupVersion.String(), Kind: "Lease"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: leaseName(index), Labels: leaseLabels, Annotations: map[string]string{nicsAnnotation: nics},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: k8stypes.UID(node.UID)}},
		},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &node.Name},
	}
}

func leaseName(index int) string { return leasePrefix + strconv.Itoa(index) }

// indexOf returns the number that the Lease with a name stands for.
func indexOf(name string) (index int, is bool) {
	digits, has := strings.CutPrefix(name, leasePrefix)
	index, err := strconv.Atoi(digits)
	return index, has && err == nil && index >= 0 && leaseName(index) == name
}

func holderOf(lease *coordinationv1.Lease) string {
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// owns reports whether a Lease of a node's name is of this Node, and not of an earlier one.
func (n nodeRef) owns(lease *coordinationv1.Lease) bool {
	owners := lease.OwnerReferences
	return len(owners) == 1 && string(owners[0].UID) == n.UID
}

// The most bytes of an annotation with NICs, as deploy/policy.yaml has it, and of those of all
// hosts that the cache keeps, which fit into the file that keep reads; and the most addresses
// of a host.
const (
	maxNICs      = 4 << 10
	maxAllNICs   = 3 << 20
	maxAddresses = 64
)

// trimLease returns a function that returns a Lease with only what hosts reads.
func trimLease(budget *cacheBudget) func(*coordinationv1.Lease) *coordinationv1.Lease {
	return func(lease *coordinationv1.Lease) *coordinationv1.Lease {
		out := &coordinationv1.Lease{ObjectMeta: trimMeta(lease.ObjectMeta, []string{nicsAnnotation}), Spec: coordinationv1.LeaseSpec{HolderIdentity: lease.Spec.HolderIdentity}}
		if size := len(out.Annotations[nicsAnnotation]); size > maxNICs || !budget.take(lease.UID, size) {
			out.Annotations = nil
		}
		for _, o := range lease.OwnerReferences {
			out.OwnerReferences = append(out.OwnerReferences, metav1.OwnerReference{UID: o.UID})
		}
		return out
	}
}

// nicsOf returns the NICs that a Lease tells. What cannot be read is an error.
func nicsOf(lease *coordinationv1.Lease) (nics []agentapi.HostNIC, err error) {
	nics = []agentapi.HostNIC{}
	text := lease.Annotations[nicsAnnotation]
	if text == "" {
		return nics, nil
	}
	if err = json.Unmarshal([]byte(text), &nics); err == nil {
		addresses := 0
		for _, n := range nics {
			addresses += len(n.Addresses)
		}
		if addresses <= maxAddresses {
			return nics, nil
		}
		err = fmt.Errorf("has %d addresses, want at most %d", addresses, maxAddresses)
	}
	return []agentapi.HostNIC{}, fmt.Errorf("annotation %s: %w", nicsAnnotation, err)
}

// hostLeases lists and watches the Leases of all hosts.
func (a *api) hostLeases(namespace string) cache.ListerWatcher {
	return cache.NewFilteredListWatchFromClient(a.leases, leaseResource, namespace, func(o *metav1.ListOptions) {
		o.LabelSelector = metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: leaseLabels})
	})
}

// createLease makes a Lease, and makes lease what the API server has of it.
func (a *api) createLease(ctx context.Context, lease *coordinationv1.Lease) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	a.count("create", leaseResource)
	return a.leases.Post().Namespace(lease.Namespace).Resource(leaseResource).Body(lease).Do(ctx).Into(lease)
}

// annotateLease sets the annotation with the NICs of a Lease that has not been made anew.
func (a *api) annotateLease(ctx context.Context, lease *coordinationv1.Lease, nics string) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	a.count("patch", leaseResource)
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": lease.UID, "annotations": map[string]string{nicsAnnotation: nics}}})
	if err != nil {
		return err
	}
	return a.leases.Patch(k8stypes.MergePatchType).Namespace(lease.Namespace).Resource(leaseResource).Name(lease.Name).Body(patch).Do(ctx).Error()
}
