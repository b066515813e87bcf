package kubeclient

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/agentapi"
)

// maxReads is how many NADs one review reads: a pod's networks, and those that their links name.
const maxReads = 128

var errManyNADs = code.With(code.ManyNetworks, fmt.Errorf("its networks, and the networks that their links name, are more than %d: split the pod, or write resourceName into the links", maxReads))

// Reviewer judges NADs and pods when they are written.
type Reviewer struct {
	// NAD asks the API server for a NAD.
	NAD func(context.Context, types.NamespacedName) (*nettypes.NetworkAttachmentDefinition, error)

	// Cluster returns the cluster's configuration as it is now.
	Cluster func() agentapi.Cluster

	// WarnPods says that somebody else decides what is wrong with the networks of a pod, as
	// Multus does: a pod is not refused.
	WarnPods bool
}

// Review is what a Reviewer finds. If Err is not nil, the object is refused.
type Review struct {
	Err      error
	Warnings []string
	Patch    []Operation
}

// ReviewNAD judges a NAD. The networks that its links name may come later, as they do when
// several NADs are applied: that they are missing is a warning.
func (r Reviewer) ReviewNAD(ctx context.Context, nad *nettypes.NetworkAttachmentDefinition) Review {
	judge := r.judge(ctx)
	var missing []string
	find := judge.NAD
	judge.NAD = func(name types.NamespacedName) (*nettypes.NetworkAttachmentDefinition, error) {
		found, err := find(name)
		if !apierrors.IsNotFound(err) {
			return found, err
		}
		missing = append(missing, code.Text(code.With(code.NoNAD, fmt.Errorf("network %s, which a link names, does not exist yet", name))))
		return nil, ErrUnseen
	}
	judged := judge.One(nad)
	return Review{Err: judged.Err, Warnings: append(judged.Warnings.Texts(""), missing...)}
}

// ReviewPod judges a new pod, written as raw, after it has got what its networks need.
func (r Reviewer) ReviewPod(ctx context.Context, raw []byte, namespace string) (out Review) {
	pod := &corev1.Pod{}
	if err := json.Unmarshal(raw, pod); err != nil {
		return Review{Err: fmt.Errorf("the pod cannot be read: %w", err)}
	}
	pod.Namespace, pod.Name = cmp.Or(pod.Namespace, namespace), cmp.Or(pod.Name, pod.GenerateName+"*")
	if isLeftAlone(pod) {
		return out
	}
	judge := r.judge(ctx)
	needs, err := judge.Needs(pod)
	patch, failed := Inject(pod, raw, needs)
	out.Patch = patch
	if err = join(err, failed); err == nil {
		out.Warnings, err = foundIn(judge, pod)
	}
	if errors.Is(err, errManyNADs) {
		err = errManyNADs // once, and not for each link
	}
	if err != nil && r.WarnPods {
		out.Warnings, err = append(out.Warnings, code.Text(err)), nil
	}
	out.Err = err
	return out
}

// isLeftAlone reports whether a pod gets no networks, or is created by the kubelet, which
// has it already.
func isLeftAlone(pod *corev1.Pod) bool {
	_, static := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return static || pod.Spec.HostNetwork || pod.Annotations[NetworksAnnotation] == ""
}

// foundIn returns what an ADD of each network of a pod would warn of, and its error.
func foundIn(judge Judge, pod *corev1.Pod) (warnings []string, err error) {
	all, err := judge.Pod(pod, false)
	errs := []error{err}
	for _, one := range all {
		network := one.Attachment.Element.Path + ": network " + one.Attachment.Element.Network.String() + ": "
		warnings = append(warnings, one.Warnings.Texts(network)...)
		if one.Err != nil {
			errs = append(errs, fmt.Errorf("%s%w", network, one.Err))
		}
	}
	return warnings, join(errs...)
}

// judge returns what judges one object. It asks for each NAD once, and for maxReads at most.
func (r Reviewer) judge(ctx context.Context) Judge {
	type answer struct {
		nad *nettypes.NetworkAttachmentDefinition
		err error
	}
	known := map[types.NamespacedName]answer{}
	j := Judge{NAD: func(name types.NamespacedName) (*nettypes.NetworkAttachmentDefinition, error) {
		a, there := known[name]
		if !there && len(known) == maxReads {
			return nil, errManyNADs
		}
		if !there {
			a.nad, a.err = r.NAD(ctx, name)
			known[name] = a
		}
		return a.nad, a.err
	}}
	j.Cluster = r.Cluster()
	return j
}
