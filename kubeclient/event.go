package kubeclient

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/delegate/agentapi"
)

// The reasons of the events on pods.
const (
	reasonAttached = "NetworksAttached"
	reasonFailed   = "NetworksFailed"
	reasonWarned   = "NetworksWarned"
)

const component = "multibond-agent"

// outcome is the content of an event about a pod.
type outcome struct {
	Type    string    `json:"type"` // Normal or Warning
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
	Time    time.Time `json:"time"`

	// Repeated is how often the same happened again before this was published.
	Repeated int `json:"repeated,omitempty"`
}

// same reports whether two outcomes differ in their times only.
func (o outcome) same(other outcome) bool {
	return o.Type == other.Type && o.Reason == other.Reason && o.Message == other.Message
}

// outcomesOf returns the events for a report of the plugin.
func outcomesOf(p agentapi.Publish, now time.Time) (out []outcome) {
	if p.Failure != nil {
		out = append(out, outcome{Type: corev1.EventTypeWarning, Reason: reasonFailed, Message: clip(p.Failure.Msg), Time: now})
	} else if len(p.Attachments) > 0 {
		out = append(out, outcome{Type: corev1.EventTypeNormal, Reason: reasonAttached, Message: clip(describe(p.Attachments)), Time: now})
	}
	if len(p.Warnings) > 0 {
		out = append(out, outcome{Type: corev1.EventTypeWarning, Reason: reasonWarned, Message: clip(strings.Join(p.Warnings, "; ")), Time: now})
	}
	return out
}

// describe lists the interfaces that a pod got: "eth0 10.244.1.5 (cbr0), bond0
// 10.56.217.2 (demo/bond-net1)".
func describe(attachments []agentapi.Result) string {
	var words []string
	for _, a := range attachments {
		entries, _ := Attached{Name: a.Name, IfName: a.IfName, Bond: a.Bond, Result: a.Result}.statuses()
		for _, s := range entries {
			words = append(words, strings.Join(append([]string{s.Interface}, s.IPs...), " ")+" ("+a.Name+")")
		}
	}
	return strings.Join(words, ", ")
}

// clip shortens a message to the 1024 bytes that an event can hold.
func clip(message string) string {
	const most, end = 1024, " ..."
	message = strings.ToValidUTF8(message, "?")
	if len(message) <= most {
		return message
	}
	return strings.ToValidUTF8(message[:most-len(end)], "") + end
}

// event returns the API object. Its name is derived from the pod, the outcome and ten
// minutes of time, so that the API server rejects a second event with the same outcome,
// whoever sends it.
func (o outcome) event(pod agentapi.Pod, node string) *corev1.Event {
	at := metav1.NewTime(o.Time)
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: pod.Namespace, Name: o.eventName(pod)},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: types.UID(pod.UID)},
		Type:           o.Type, Reason: o.Reason, Message: o.Message, Count: int32(1 + o.Repeated),
		FirstTimestamp: at, LastTimestamp: at,
		Source:              corev1.EventSource{Component: component, Host: node},
		ReportingController: component, ReportingInstance: node,
	}
}

// key is the same for outcomes of a pod that differ in their times only.
func (o outcome) key(pod agentapi.Pod) string {
	return strings.Join([]string{pod.UID, o.Reason, o.Message}, "\n")
}

func (o outcome) eventName(pod agentapi.Pod) string {
	const longest = 253 // of an object name
	sum := sha256.Sum256(fmt.Appendln(nil, o.key(pod), o.Time.Unix()/int64(repeatAfter/time.Second)))
	end := fmt.Sprintf(".%x", sum[:8])
	return strings.TrimRight(pod.Name[:min(len(pod.Name), longest-len(end))], ".-") + end
}
