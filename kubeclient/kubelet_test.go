package kubeclient

import (
	"os"
	"path/filepath"
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

	"github.com/multibond/multibond/kubeclient/kubefake"
)

func kubeletPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "p", UID: "uid-p"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main"}}},
	}
}

// newKubelet returns a kubelet that serves, and the agent's client of it.
func newKubelet(t *testing.T) (f *kubefake.Kubelet, client Kubelet, stop func()) {
	t.Helper()
	dir := kubefake.ShortDir(t)
	client = Kubelet{Socket: filepath.Join(dir, "kubelet.sock"), Checkpoint: filepath.Join(dir, "checkpoint"), Timeout: 2 * time.Minute}
	f, stop = kubefake.NewKubelet(t, client.Socket)
	return f, client, stop
}

const savedDevices = `{"Data":{"PodDeviceEntries":[{"PodUID":"uid-p","ContainerName":"main","ResourceName":"intel.com/a","DeviceIDs":{"0":["b","a"]}}]},"Checksum":1}`

func TestKubeletIsAskedInOrder(t *testing.T) {
	again := grpcstatus.Error(codes.Unavailable, "starting")
	for _, c := range []struct {
		name  string
		set   func(*kubefake.Kubelet)
		asked string
		how   string
	}{
		{"Get", func(*kubefake.Kubelet) {}, "Get", "PodResources Get"},
		{"Get unimplemented", func(f *kubefake.Kubelet) { f.GetFails = kubefake.ErrUnimplemented }, "Get List", "PodResources List"},
		{"Get disabled", func(f *kubefake.Kubelet) { f.GetFails = kubefake.ErrDisabled }, "Get List", "PodResources List"},
		{"neither", func(f *kubefake.Kubelet) { f.GetFails, f.ListFails = again, again }, "Get List", "checkpoint"},
		{"asked too often", func(f *kubefake.Kubelet) { f.Exhausted = 3 }, "Get Get Get Get", "PodResources Get"},
		{"asked too often, then List", func(f *kubefake.Kubelet) { f.GetFails, f.Exhausted = kubefake.ErrDisabled, 1 }, "Get Get List", "PodResources List"},
		{"listed twice", func(f *kubefake.Kubelet) { f.GetFails, f.Pods = kubefake.ErrDisabled, append(f.Pods, f.Pods[0]) }, "Get List", "checkpoint"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, client, _ := newKubelet(t)
			f.Give("demo", "p", map[string][]string{"intel.com/a": {"a", "b"}})
			f.Give("other", "p", map[string][]string{"intel.com/a": {"c"}})
			f.Set(c.set)
			require.NoError(t, os.WriteFile(client.Checkpoint, []byte(savedDevices), 0o600))
			got, how, err := client.Containers(t.Context(), kubeletPod(), Claims{})
			require.NoError(t, err)
			assert.Equal(t, c.how, how)
			assert.Equal(t, c.asked, strings.Join(f.Questions(), " "))
			require.Len(t, got, 1)
			assert.ElementsMatch(t, []string{"a", "b"}, got[0].Resources["intel.com/a"])
		})
	}
}

func TestKubeletDoesNotKnowThePod(t *testing.T) {
	for _, fails := range []error{nil, kubefake.ErrUnimplemented} {
		f, client, _ := newKubelet(t)
		f.Set(func(f *kubefake.Kubelet) { f.GetFails = fails })
		require.NoError(t, os.WriteFile(client.Checkpoint, []byte(savedDevices), 0o600))
		got, _, err := client.Containers(t.Context(), kubeletPod(), Claims{})
		refused(t, err, cnitypes.ErrTryAgainLater)
		assert.Nil(t, got)
	}
}

func TestKubeletIsDead(t *testing.T) {
	_, client, stop := newKubelet(t)
	stop()
	_, _, err := client.Containers(t.Context(), kubeletPod(), Claims{})
	refused(t, err, cnitypes.ErrTryAgainLater, "devices of pod demo/p", "PodResources Get", "PodResources List", "checkpoint", "component deploy/checkpoint", "Unavailable")
	assert.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(client.Checkpoint, []byte(savedDevices), 0o600))
	_, how, err := client.Containers(t.Context(), kubeletPod(), Claims{})
	require.NoError(t, err)
	assert.Equal(t, "checkpoint", how)
}

func TestKubeletIsAskedTooOftenForTooLong(t *testing.T) {
	f, client, _ := newKubelet(t)
	f.Set(func(f *kubefake.Kubelet) { f.Exhausted = 1 << 30 })
	client.Timeout = 100 * time.Millisecond
	_, _, err := client.Containers(t.Context(), kubeletPod(), Claims{})
	refused(t, err, cnitypes.ErrTryAgainLater)
	for _, asked := range f.Questions() {
		assert.Equal(t, "Get", asked)
	}
}
