package kubeclient

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	podresourcesv1 "k8s.io/kubelet/pkg/apis/podresources/v1"
)

// fakeKubelet is the kubelet's PodResources service. Like a real one, it answers in a
// different order each time.
type fakeKubelet struct {
	podresourcesv1.UnimplementedPodResourcesListerServer

	lock      sync.Mutex
	pods      []*podresourcesv1.PodResources
	getFails  error // instead of an answer
	listFails error
	exhausted int // number of calls that are rejected first
	asked     []string
}

var (
	errUnimplemented = grpcstatus.Error(codes.Unimplemented, "unknown method Get")
	errDisabled      = errors.New("PodResources API Get method disabled") // the kubelet's own words
)

func (f *fakeKubelet) question(name string, fails error) error {
	f.asked = append(f.asked, name)
	if f.exhausted > 0 {
		f.exhausted--
		return grpcstatus.Error(codes.ResourceExhausted, "rejected by rate limit")
	}
	return fails
}

func (f *fakeKubelet) Get(_ context.Context, r *podresourcesv1.GetPodResourcesRequest) (*podresourcesv1.GetPodResourcesResponse, error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	if err := f.question("Get", f.getFails); err != nil {
		return nil, err
	}
	for _, pod := range f.pods {
		if pod.Namespace == r.PodNamespace && pod.Name == r.PodName {
			return &podresourcesv1.GetPodResourcesResponse{PodResources: disordered(pod)}, nil
		}
	}
	return nil, grpcstatus.Errorf(codes.NotFound, "pod %s in namespace %s not found", r.PodName, r.PodNamespace)
}

func (f *fakeKubelet) List(context.Context, *podresourcesv1.ListPodResourcesRequest) (*podresourcesv1.ListPodResourcesResponse, error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	if err := f.question("List", f.listFails); err != nil {
		return nil, err
	}
	out := &podresourcesv1.ListPodResourcesResponse{}
	for _, i := range rand.Perm(len(f.pods)) {
		out.PodResources = append(out.PodResources, disordered(f.pods[i]))
	}
	return out, nil
}

// disordered returns the pod in a random order, with one entry per device.
func disordered(pod *podresourcesv1.PodResources) *podresourcesv1.PodResources {
	out := &podresourcesv1.PodResources{Name: pod.Name, Namespace: pod.Namespace}
	for _, i := range rand.Perm(len(pod.Containers)) {
		c := &podresourcesv1.ContainerResources{Name: pod.Containers[i].Name, DynamicResources: pod.Containers[i].DynamicResources}
		for _, d := range pod.Containers[i].Devices {
			for _, id := range d.DeviceIds {
				c.Devices = append(c.Devices, devices(d.ResourceName, id))
			}
		}
		rand.Shuffle(len(c.Devices), func(i, j int) { c.Devices[i], c.Devices[j] = c.Devices[j], c.Devices[i] })
		out.Containers = append(out.Containers, c)
	}
	return out
}

// questions returns the names of the calls since it was last called.
func (f *fakeKubelet) questions() []string {
	f.lock.Lock()
	defer f.lock.Unlock()
	out := slices.Clone(f.asked)
	f.asked = nil
	return out
}

func (f *fakeKubelet) set(change func(*fakeKubelet)) {
	f.lock.Lock()
	defer f.lock.Unlock()
	change(f)
}

// give assigns devices to a pod with one container, main.
func (f *fakeKubelet) give(namespace, name string, of map[string][]string) {
	pod := &podresourcesv1.PodResources{Namespace: namespace, Name: name, Containers: []*podresourcesv1.ContainerResources{{Name: "main"}}}
	for resource, ids := range of {
		pod.Containers[0].Devices = append(pod.Containers[0].Devices, devices(resource, ids...))
	}
	f.set(func(f *fakeKubelet) { f.pods = append(f.pods, pod) })
}

// newFakeKubelet serves on a socket until the test ends or stop is called.
func newFakeKubelet(t *testing.T) (f *fakeKubelet, client Kubelet, stop func()) {
	t.Helper()
	dir := shortDir(t)
	client = Kubelet{Socket: filepath.Join(dir, "kubelet.sock"), Checkpoint: filepath.Join(dir, "checkpoint"), Timeout: 2 * time.Minute}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: client.Socket})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false) // a kubelet that dies leaves its socket behind
	f = &fakeKubelet{}
	server := grpc.NewServer()
	podresourcesv1.RegisterPodResourcesListerServer(server, f)
	go server.Serve(l)
	t.Cleanup(server.Stop)
	return f, client, server.Stop
}

// shortDir returns a directory whose path leaves room for the name of a socket, which
// has at most 107 bytes.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kube")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
