package kubefake

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	podresourcesv1 "k8s.io/kubelet/pkg/apis/podresources/v1"
)

// Kubelet is the kubelet's PodResources service. Like a real one, it answers in a
// different order each time.
type Kubelet struct {
	podresourcesv1.UnimplementedPodResourcesListerServer

	lock      sync.Mutex // Set takes it
	Pods      []*podresourcesv1.PodResources
	Devices   []*podresourcesv1.ContainerDevices // that it can give to pods
	GetFails  error                              // instead of an answer
	ListFails error
	Exhausted int // number of calls that are rejected first
	asked     []string
}

// What a kubelet answers to Get if it has none.
var (
	ErrUnimplemented = grpcstatus.Error(codes.Unimplemented, "unknown method Get")
	ErrDisabled      = errors.New("PodResources API Get method disabled") // the kubelet's own words
)

func (f *Kubelet) question(name string, fails error) error {
	f.asked = append(f.asked, name)
	if f.Exhausted > 0 {
		f.Exhausted--
		return grpcstatus.Error(codes.ResourceExhausted, "rejected by rate limit")
	}
	return fails
}

// Get is the call of that name.
func (f *Kubelet) Get(_ context.Context, r *podresourcesv1.GetPodResourcesRequest) (*podresourcesv1.GetPodResourcesResponse, error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	if err := f.question("Get", f.GetFails); err != nil {
		return nil, err
	}
	for _, pod := range f.Pods {
		if pod.Namespace == r.PodNamespace && pod.Name == r.PodName {
			return &podresourcesv1.GetPodResourcesResponse{PodResources: disordered(pod)}, nil
		}
	}
	return nil, grpcstatus.Errorf(codes.NotFound, "pod %s in namespace %s not found", r.PodName, r.PodNamespace)
}

// List is the call of that name.
func (f *Kubelet) List(context.Context, *podresourcesv1.ListPodResourcesRequest) (*podresourcesv1.ListPodResourcesResponse, error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	if err := f.question("List", f.ListFails); err != nil {
		return nil, err
	}
	out := &podresourcesv1.ListPodResourcesResponse{}
	for _, i := range rand.Perm(len(f.Pods)) {
		out.PodResources = append(out.PodResources, disordered(f.Pods[i]))
	}
	return out, nil
}

// GetAllocatableResources is the call of that name.
func (f *Kubelet) GetAllocatableResources(context.Context, *podresourcesv1.AllocatableResourcesRequest) (*podresourcesv1.AllocatableResourcesResponse, error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	if err := f.question("GetAllocatableResources", nil); err != nil {
		return nil, err
	}
	return &podresourcesv1.AllocatableResourcesResponse{Devices: f.Devices}, nil
}

// disordered returns the pod in a random order, with one entry per device.
func disordered(pod *podresourcesv1.PodResources) *podresourcesv1.PodResources {
	out := &podresourcesv1.PodResources{Name: pod.Name, Namespace: pod.Namespace}
	for _, i := range rand.Perm(len(pod.Containers)) {
		c := &podresourcesv1.ContainerResources{Name: pod.Containers[i].Name, DynamicResources: pod.Containers[i].DynamicResources}
		for _, d := range pod.Containers[i].Devices {
			for _, id := range d.DeviceIds {
				c.Devices = append(c.Devices, devicesOf(d.ResourceName, []string{id}))
			}
		}
		rand.Shuffle(len(c.Devices), func(i, j int) { c.Devices[i], c.Devices[j] = c.Devices[j], c.Devices[i] })
		out.Containers = append(out.Containers, c)
	}
	return out
}

// Questions returns the names of the calls since it was last called.
func (f *Kubelet) Questions() []string {
	f.lock.Lock()
	defer f.lock.Unlock()
	out := slices.Clone(f.asked)
	f.asked = nil
	return out
}

// Set changes the kubelet while it serves.
func (f *Kubelet) Set(change func(*Kubelet)) {
	f.lock.Lock()
	defer f.lock.Unlock()
	change(f)
}

// Give assigns devices to a pod with one container, main.
func (f *Kubelet) Give(namespace, name string, of map[string][]string) {
	pod := &podresourcesv1.PodResources{Namespace: namespace, Name: name, Containers: []*podresourcesv1.ContainerResources{{Name: "main"}}}
	for resource, ids := range of {
		pod.Containers[0].Devices = append(pod.Containers[0].Devices, devicesOf(resource, ids))
	}
	f.Set(func(f *Kubelet) { f.Pods = append(f.Pods, pod) })
}

// Claimed is a device of a ResourceClaim, with its name for the container runtime.
type Claimed struct{ Driver, Pool, Device, CDI string }

// GiveClaim assigns the devices of a claim to the container of a pod that Give was called for.
func (f *Kubelet) GiveClaim(namespace, name, claim string, devices []Claimed) {
	r := &podresourcesv1.DynamicResource{ClaimNamespace: namespace, ClaimName: claim}
	for _, d := range devices {
		r.ClaimResources = append(r.ClaimResources, &podresourcesv1.ClaimResource{
			DriverName: d.Driver, PoolName: d.Pool, DeviceName: d.Device, CdiDevices: []*podresourcesv1.CDIDevice{{Name: d.CDI}},
		})
	}
	f.Set(func(f *Kubelet) {
		for _, pod := range f.Pods {
			if pod.Namespace == namespace && pod.Name == name {
				pod.Containers[0].DynamicResources = append(pod.Containers[0].DynamicResources, r)
			}
		}
	})
}

// NewKubelet serves on a socket until the test ends or stop is called.
func NewKubelet(t testing.TB, socket string) (f *Kubelet, stop func()) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false) // a kubelet that dies leaves its socket behind
	f = &Kubelet{}
	server := grpc.NewServer()
	podresourcesv1.RegisterPodResourcesListerServer(server, f)
	go server.Serve(l)
	t.Cleanup(server.Stop)
	return f, server.Stop
}

// ShortDir returns a directory whose path leaves room for the name of a socket, which
// has at most 107 bytes.
func ShortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kube")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func devicesOf(resource string, ids []string) *podresourcesv1.ContainerDevices {
	return &podresourcesv1.ContainerDevices{ResourceName: resource, DeviceIds: ids}
}
