package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/multibond/multibond/kubeclient"
)

const (
	checkLabel        = "multibond-check"      // of the pods of checks, under "app"
	checkNetworkLabel = "multibond.io/network" // a hash of the network's name, by which the next check finds them
	checkUser         = 65534
)

// checkedPod is a pod that a check has made.
type checkedPod struct {
	Name     string `json:"name"` // demo/multibond-check-1a2b3c4d-0
	Node     string `json:"node"`
	Attached bool   `json:"attached"` // to the network
	Reason   string `json:"reason,omitempty"`
}

// ownPod is a pod that answers on a network, and measures. It needs no right, no capability and
// no root.
func ownPod(k ownCheck, number int, node string, needs map[string]int, image string) *corev1.Pod {
	hash := fnv.New32a()
	hash.Write([]byte(k.network.String()))
	sum := fmt.Sprintf("%08x", hash.Sum32())
	networks, _ := json.Marshal([]map[string]string{{"namespace": k.network.Namespace, "name": k.network.Name}})
	amounts := corev1.ResourceList{}
	for name, n := range needs {
		amounts[corev1.ResourceName(name)] = *resource.NewQuantity(int64(n), resource.DecimalSI)
	}
	limits := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("128Mi")}
	requests := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("32Mi"), corev1.ResourceCPU: resource.MustParse("10m")}
	for name, n := range amounts {
		limits[name], requests[name] = n, n
	}
	onNode := corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}}}
	// The scheduler has to place it, because only it knows which devices are free.
	affinity := &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{onNode}}}}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: k.namespace, Name: fmt.Sprintf("%s-%s-%d", checkLabel, sum, number),
			Labels:      map[string]string{"app": checkLabel, "app.kubernetes.io/name": "multibond", checkNetworkLabel: sum},
			Annotations: map[string]string{kubeclient.NetworksAnnotation: string(networks), defaultContainer: "measure"},
		},
		Spec: corev1.PodSpec{
			Affinity: affinity, Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: new(int64(1)), ActiveDeadlineSeconds: new(int64(k.lives / time.Second)),
			AutomountServiceAccountToken: new(false), EnableServiceLinks: new(false), DNSPolicy: corev1.DNSDefault,
			SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: new(true), RunAsUser: new(int64(checkUser)), RunAsGroup: new(int64(checkUser)), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			Containers: []corev1.Container{{
				Name: "measure", Image: image, ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"/multibond-agent", "measure", "-serve"},
				Resources: corev1.ResourceRequirements{Requests: requests, Limits: limits},
				SecurityContext: &corev1.SecurityContext{
					ReadOnlyRootFilesystem: new(true), AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
}

// atMost is how long the pods of a check live if nobody removes them: as long as the check can
// take, with some interfaces of each pod.
func (k ownCheck) atMost(pods int) time.Duration {
	const interfaces = 8
	ways := pods
	if k.pairs {
		ways = pods * (pods - 1)
	}
	return k.timeout + 5*time.Minute + time.Duration(ways*interfaces)*(k.throughput+time.Second)
}

// imageOn returns the image of a node's agent.
func (p *picture) imageOn(node string) (image string) {
	for i := range p.agents {
		if a := &p.agents[i]; a.Spec.NodeName == node {
			for _, c := range a.Spec.Containers {
				if c.Name == "agent" {
					image = cmp.Or(image, c.Image)
				}
			}
		}
	}
	return image
}

// awaitOwn waits until all pods are on the network, or the time is over. It returns those that
// are, and notes the others in the report.
func (e *env) awaitOwn(ctx context.Context, core *coreclient.CoreV1Client, k ownCheck, pods []*corev1.Pod, r *checkReport) (attached []corev1.Pod, err error) {
	deadline := time.Now().Add(k.timeout)
	for {
		list, err := core.Pods(k.namespace).List(ctx, likeOwn(pods[0]))
		if err != nil {
			return nil, err
		}
		attached = slices.DeleteFunc(slices.Clone(list.Items), func(p corev1.Pod) bool { return !isOn(&p, k.network.String()) })
		settled := slices.IndexFunc(list.Items, func(p corev1.Pod) bool { return !isOn(&p, k.network.String()) && !hasEnded(&p) }) < 0
		e.progress("%d of %d pods are on network %s", len(attached), len(pods), k.network)
		if len(list.Items) == len(pods) && settled || time.Now().After(deadline) {
			e.notePods(ctx, core, list.Items, k, r)
			return attached, nil
		}
		select {
		case <-time.After(e.every):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// isOn reports whether a pod runs and is attached to a network.
func isOn(pod *corev1.Pod, network string) bool {
	return isRunning(pod) && isReady(pod) && len(endsOf([]corev1.Pod{*pod}, network)) > 0
}

// notePods notes the pods of a check, and why some are not on the network.
func (e *env) notePods(ctx context.Context, core *coreclient.CoreV1Client, pods []corev1.Pod, k ownCheck, r *checkReport) {
	for i := range pods {
		pod := &pods[i]
		one := checkedPod{Name: pod.Namespace + "/" + pod.Name, Node: pod.Spec.NodeName, Attached: isOn(pod, k.network.String())}
		switch {
		case one.Attached:
		case one.Node == "":
			r.Unseen = append(r.Unseen, fmt.Sprintf("pod %s: %s", one.Name, whyUnscheduled(pod)))
		default:
			one.Reason = whyNotOn(ctx, core, pod)
		}
		r.Pods = append(r.Pods, one)
	}
}

func whyUnscheduled(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Message != "" {
			return c.Message
		}
	}
	return "it was not placed on its node in time"
}

// whyNotOn returns what the last warning about a pod says.
func whyNotOn(ctx context.Context, core *coreclient.CoreV1Client, pod *corev1.Pod) string {
	if hasEnded(pod) {
		return cmp.Or(pod.Status.Message, "its container has ended: the image needs the multibond-agent of this version (--image)")
	}
	events, err := allEvents(ctx, core, pod.Namespace, "involvedObject.name="+pod.Name)
	if err != nil {
		return "it did not start in time; events: " + err.Error()
	}
	text := "it did not start in time"
	slices.SortStableFunc(events, func(a, b corev1.Event) int { return a.LastTimestamp.Compare(b.LastTimestamp.Time) })
	for _, ev := range events {
		if ev.InvolvedObject.UID == pod.UID && ev.Type == corev1.EventTypeWarning {
			text = ev.Message
		}
	}
	return text
}

// likeOwn selects the pods of the checks of a network.
func likeOwn(pod *corev1.Pod) metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: "app=" + checkLabel + "," + checkNetworkLabel + "=" + pod.Labels[checkNetworkLabel]}
}

// removeOwn removes the pods of the checks of a network, also those of one that was killed, and
// waits until they are gone: then their devices are free.
func (e *env) removeOwn(ctx context.Context, core *coreclient.CoreV1Client, like *corev1.Pod, which string) error {
	pods := core.Pods(like.Namespace)
	asked := map[string]bool{}
	for {
		list, err := pods.List(ctx, likeOwn(like))
		if err != nil || len(list.Items) == 0 {
			return err
		}
		if len(asked) == 0 && which != "" {
			fmt.Fprintf(e.ErrOut, "removing %s %s\n", count(len(list.Items), "pod"), which)
		}
		e.progress("%d pods are being removed", len(list.Items))
		for _, p := range list.Items {
			if asked[p.Name] || p.DeletionTimestamp != nil {
				asked[p.Name] = true
				continue
			}
			if err := pods.Delete(ctx, p.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				return err
			}
			asked[p.Name] = true
		}
		select {
		case <-time.After(e.every):
		case <-ctx.Done():
			return fmt.Errorf("pods with the label app=%s of namespace %s are still being removed: %w", checkLabel, like.Namespace, errors.Join(context.Cause(ctx)))
		}
	}
}
