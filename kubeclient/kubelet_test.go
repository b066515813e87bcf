package kubeclient

import (
	"os"
	"strings"
	"testing"
	"time"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
			require.NoError(t, os.WriteFile(client.Checkpoint, []byte(savedDevices), 0o600))
			got, how, err := client.Containers(t.Context(), kubeletPod(), nil)
			require.NoError(t, err)
			assert.Equal(t, c.how, how)
			assert.Equal(t, c.asked, strings.Join(f.questions(), " "))
			require.Len(t, got, 1)
			assert.ElementsMatch(t, []string{"a", "b"}, got[0].Resources["intel.com/a"])
		})
	}
}

func TestKubeletDoesNotKnowThePod(t *testing.T) {
	for _, fails := range []error{nil, errUnimplemented} {
		f, client, _ := newFakeKubelet(t)
		f.set(func(f *fakeKubelet) { f.getFails = fails })
		require.NoError(t, os.WriteFile(client.Checkpoint, []byte(savedDevices), 0o600))
		got, _, err := client.Containers(t.Context(), kubeletPod(), nil)
		refused(t, err, cnitypes.ErrTryAgainLater)
		assert.Nil(t, got)
	}
}

func TestKubeletIsDead(t *testing.T) {
	_, client, stop := newFakeKubelet(t)
	stop()
	_, _, err := client.Containers(t.Context(), kubeletPod(), nil)
	refused(t, err, cnitypes.ErrTryAgainLater, "devices of pod demo/p", "PodResources Get", "PodResources List", "checkpoint", "Unavailable")
	assert.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(client.Checkpoint, []byte(savedDevices), 0o600))
	_, how, err := client.Containers(t.Context(), kubeletPod(), nil)
	require.NoError(t, err)
	assert.Equal(t, "checkpoint", how)
}

func TestKubeletIsAskedTooOftenForTooLong(t *testing.T) {
	f, client, _ := newFakeKubelet(t)
	f.set(func(f *fakeKubelet) { f.exhausted = 1 << 30 })
	client.Timeout = 100 * time.Millisecond
	_, _, err := client.Containers(t.Context(), kubeletPod(), nil)
	refused(t, err, cnitypes.ErrTryAgainLater)
	for _, asked := range f.questions() {
		assert.Equal(t, "Get", asked)
	}
}
