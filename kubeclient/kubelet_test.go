package kubeclient

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/multibond/multibond/delegate/cnierror"
)

func kubeletPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "p", UID: "uid-p"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main"}}},
	}
}

const savedDevices = `{"Data":{"PodDeviceEntries":[{"PodUID":"uid-p","ContainerName":"main","ResourceName":"intel.com/a","DeviceIDs":{"0":["b","a"]}}]},"Checksum":1}`

func TestKubeletIsAskedInOrder(t *testing.T) {
	again := grpcstatus.Error(codes.Unavailable, "starting")
	for _, c := range []struct {
		name  string
		set   func(*fakeKubelet)
		asked string
		how   string
	}{
		{"Get", func(*fakeKubelet) {}, "Get", "PodResources Get"},
		{"Get unimplemented", func(f *fakeKubelet) { f.getFails = errUnimplemented }, "Get List", "PodResources List"},
		{"Get disabled", func(f *fakeKubelet) { f.getFails = errDisabled }, "Get List", "PodResources List"},
		{"neither", func(f *fakeKubelet) { f.getFails, f.listFails = again, again }, "Get List", "checkpoint"},
		{"asked too often", func(f *fakeKubelet) { f.exhausted = 3 }, "Get Get Get Get", "PodResources Get"},
		{"asked too often, then List", func(f *fakeKubelet) { f.getFails, f.exhausted = errDisabled, 1 }, "Get Get List", "PodResources List"},
		{"listed twice", func(f *fakeKubelet) { f.getFails, f.pods = errDisabled, append(f.pods, f.pods[0]) }, "Get List", "checkpoint"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, client, _ := newFakeKubelet(t)
			f.give("demo", "p", map[string][]string{"intel.com/a": {"a", "b"}})
			f.give("other", "p", map[string][]string{"intel.com/a": {"c"}})
			f.set(c.set)
			if err := os.WriteFile(client.Checkpoint, []byte(savedDevices), 0o600); err != nil {
				t.Fatal(err)
			}
			got, how, err := client.Containers(t.Context(), kubeletPod(), nil)
			if err != nil || how != c.how {
				t.Fatalf("%q, %v", how, err)
			}
			if asked := strings.Join(f.questions(), " "); asked != c.asked {
				t.Errorf("asked %s, wanted is %s", asked, c.asked)
			}
			ids := got[0].Resources["intel.com/a"]
			slices.Sort(ids)
			if diff := cmp.Diff([]string{"a", "b"}, ids); len(got) != 1 || diff != "" {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestKubeletDoesNotKnowThePod(t *testing.T) {
	for _, fails := range []error{nil, errUnimplemented} {
		f, client, _ := newFakeKubelet(t)
		f.set(func(f *fakeKubelet) { f.getFails = fails })
		if err := os.WriteFile(client.Checkpoint, []byte(savedDevices), 0o600); err != nil {
			t.Fatal(err)
		}
		got, _, err := client.Containers(t.Context(), kubeletPod(), nil)
		if cnierror.Code(err) != cnitypes.ErrTryAgainLater || got != nil {
			t.Errorf("%v, %v", got, err)
		}
	}
}

func TestKubeletIsDead(t *testing.T) {
	_, client, stop := newFakeKubelet(t)
	stop()
	_, _, err := client.Containers(t.Context(), kubeletPod(), nil)
	for _, words := range []string{"devices of pod demo/p", "PodResources Get", "PodResources List", "checkpoint", "Unavailable"} {
		if cnierror.Code(err) != cnitypes.ErrTryAgainLater || !strings.Contains(err.Error(), words) {
			t.Errorf("%v\nwanted is %s", err, words)
		}
	}
	if !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if err := os.WriteFile(client.Checkpoint, []byte(savedDevices), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, how, err := client.Containers(t.Context(), kubeletPod(), nil); err != nil || how != "checkpoint" {
		t.Error(how, err)
	}
}

func TestKubeletIsAskedTooOftenForTooLong(t *testing.T) {
	f, client, _ := newFakeKubelet(t)
	f.set(func(f *fakeKubelet) { f.exhausted = 1 << 30 })
	client.Timeout = 100 * time.Millisecond
	_, _, err := client.Containers(t.Context(), kubeletPod(), nil)
	if cnierror.Code(err) != cnitypes.ErrTryAgainLater {
		t.Error(err)
	}
	for _, asked := range f.questions() {
		if asked != "Get" {
			t.Error("asked", asked)
		}
	}
}
