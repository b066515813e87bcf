package kubeclient

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	podresourcesv1 "k8s.io/kubelet/pkg/apis/podresources/v1"
)

func devices(resource string, ids ...string) *podresourcesv1.ContainerDevices {
	return &podresourcesv1.ContainerDevices{ResourceName: resource, DeviceIds: ids}
}

// onNode returns devices that are on a NUMA node.
func onNode(node int64, d *podresourcesv1.ContainerDevices) *podresourcesv1.ContainerDevices {
	d.Topology = &podresourcesv1.TopologyInfo{Nodes: []*podresourcesv1.NUMANode{{ID: node}}}
	return d
}

func TestFromPodResources(t *testing.T) {
	pod := &podresourcesv1.PodResources{Containers: []*podresourcesv1.ContainerResources{
		{Name: "zz", Devices: []*podresourcesv1.ContainerDevices{devices("r", "z1")}},
		{Name: "second", CpuIds: []int64{1, 2}, Memory: []*podresourcesv1.ContainerMemory{{Size: 4096}}},
		{Name: "aa"},
		{Name: "first", Devices: []*podresourcesv1.ContainerDevices{
			onNode(1, devices("r", "b", "a")), devices("s", "c"), onNode(0, devices("r", "b")), // b is on two NUMA nodes
		}},
	}}
	want := []Container{
		{Name: "first", Resources: map[string][]string{"r": {"b", "a", "b"}, "s": {"c"}}, Requests: map[string][]string{}, NUMA: map[string][]string{"a": {"1"}, "b": {"1", "0"}}},
		{Name: "second", Resources: map[string][]string{}, Requests: map[string][]string{}, CPUs: []int64{1, 2}},
		{Name: "aa", Resources: map[string][]string{}, Requests: map[string][]string{}},
		{Name: "zz", Resources: map[string][]string{"r": {"z1"}}, Requests: map[string][]string{}},
	}
	assert.Equal(t, want, FromPodResources(pod, []string{"first", "second"}, Claims{}))
	assert.Empty(t, FromPodResources(nil, nil, Claims{}))
}

// TestKubeletsOrderDoesNotMatter shuffles the kubelet's answer, as the kubelet does
// from call to call.
func TestKubeletsOrderDoesNotMatter(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	answer := &podresourcesv1.PodResources{Containers: []*podresourcesv1.ContainerResources{
		{Name: "x", Devices: []*podresourcesv1.ContainerDevices{devices("r", "a2", "a1"), devices("r", "b1", "a1"), devices("s", "c1")}},
		{Name: "y", Devices: []*podresourcesv1.ContainerDevices{devices("r", "c2", "b2")}},
	}}
	needs := []Need{wants("n", "r", 2), wants("m", "s", 1), wants("o", "r", 3)}
	var first [][]string
	for range 50 {
		r.Shuffle(len(answer.Containers), func(i, j int) {
			answer.Containers[i], answer.Containers[j] = answer.Containers[j], answer.Containers[i]
		})
		for _, c := range answer.Containers {
			r.Shuffle(len(c.Devices), func(i, j int) { c.Devices[i], c.Devices[j] = c.Devices[j], c.Devices[i] })
		}
		got, err := Allocate("demo/p", FromPodResources(answer, []string{"x", "y"}, Claims{}), needs, letterPF)
		require.NoError(t, err)
		if first == nil {
			first = got
		}
		require.Equal(t, first, got)
	}
}

func TestFindPod(t *testing.T) {
	one := &podresourcesv1.PodResources{Name: "p", Namespace: "demo"}
	list := &podresourcesv1.ListPodResourcesResponse{PodResources: []*podresourcesv1.PodResources{
		{Name: "p", Namespace: "other"}, one, {Name: "q", Namespace: "demo"}, {Name: "q", Namespace: "demo"},
	}}
	got, err := FindPod(list, named("demo", "p"))
	require.NoError(t, err)
	assert.Same(t, one, got)
	_, err = FindPod(list, named("demo", "q"))
	assert.EqualError(t, err, "pod demo/q: the kubelet lists it twice")
	for _, answer := range []*podresourcesv1.ListPodResourcesResponse{list, nil} {
		_, err := FindPod(answer, named("demo", "r"))
		assert.EqualError(t, err, "the kubelet does not list pod demo/r")
	}
}

func TestContainerOrder(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	pod := &corev1.Pod{Spec: corev1.PodSpec{
		InitContainers: []corev1.Container{{Name: "init"}, {Name: "sidecar", RestartPolicy: &always}},
		Containers:     []corev1.Container{{Name: "z"}, {Name: "a"}},
	}}
	assert.Equal(t, []string{"sidecar", "z", "a"}, ContainerOrder(pod))
}

func claim(results ...resourcev1.DeviceRequestAllocationResult) *resourcev1.ResourceClaim {
	c := &resourcev1.ResourceClaim{}
	c.Namespace, c.Name = "demo", "p-vfs-x7"
	c.Status.Allocation = &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{Results: results}}
	return c
}

func result(request, device string) resourcev1.DeviceRequestAllocationResult {
	return resourcev1.DeviceRequestAllocationResult{Request: request, Driver: "sriov", Pool: "node1", Device: device}
}

func TestDynamicResources(t *testing.T) {
	resource := func(driver, pool, device string) *podresourcesv1.ClaimResource {
		return &podresourcesv1.ClaimResource{DriverName: driver, PoolName: pool, DeviceName: device}
	}
	pod := &podresourcesv1.PodResources{Containers: []*podresourcesv1.ContainerResources{{
		Name: "c",
		DynamicResources: []*podresourcesv1.DynamicResource{{
			ClaimNamespace: "demo", ClaimName: "p-vfs-x7",
			ClaimResources: []*podresourcesv1.ClaimResource{
				resource("sriov", "node1", "0000-3b-02-1"), resource("sriov", "node1", "0000-5E-02-1"),
				resource("sriov", "node2", "0000-5e-02-2"), resource("gpu", "node1", "gpu-0"),
				{DriverName: "vdpa", PoolName: "node1", DeviceName: "v0", CdiDevices: []*podresourcesv1.CDIDevice{{Name: "no-id"}, {Name: "example.com/vdpa=v0"}}},
			},
		}, {
			ClaimNamespace: "other", ClaimName: "p-vfs-x7",
			ClaimResources: []*podresourcesv1.ClaimResource{resource("sriov", "node1", "0000-3b-02-1")},
		}},
	}}}
	unallocated := &resourcev1.ResourceClaim{}
	got := FromPodResources(pod, nil, Claims{Claims: []*resourcev1.ResourceClaim{unallocated, claim(
		result("left", "0000-3b-02-1"), result("right/fast", "0000-5E-02-1"), result("", "none"),
	)}})
	want := map[string][]string{"left": {"0000:3b:02.1"}, "right": {"0000:5e:02.1"}, "": {"0000:5e:02.2", "0000:3b:02.1"}}
	assert.Equal(t, want, got[0].Requests)
	// As under Multus, the claim's name is that of a resource.
	assert.Equal(t, map[string][]string{"p-vfs-x7": {"0000:3b:02.1", "0000:5e:02.1", "0000:5e:02.2", "v0", "0000:3b:02.1"}}, got[0].Resources)
}

func TestFromClaims(t *testing.T) {
	text := func(s string) resourcev1.DeviceAttribute { return resourcev1.DeviceAttribute{StringValue: &s} }
	slice := func(generation int64, devices ...resourcev1.Device) *resourcev1.ResourceSlice {
		return &resourcev1.ResourceSlice{Spec: resourcev1.ResourceSliceSpec{
			Driver: "sriov", Pool: resourcev1.ResourcePool{Name: "node1", Generation: generation}, Devices: devices,
		}}
	}
	slices := []*resourcev1.ResourceSlice{
		slice(2, resourcev1.Device{Name: "vf-0", Attributes: attributes{deviceIDAttribute: text("0000:3b:02.1"), resourceNameAttribute: text("intel.com/a")}}),
		slice(1, resourcev1.Device{Name: "vf-0", Attributes: attributes{deviceIDAttribute: text("0000:99:02.1")}},
			resourcev1.Device{Name: "gpu-0", Attributes: attributes{deviceIDAttribute: text("0000:99:02.2")}}), // gone since
		{Spec: resourcev1.ResourceSliceSpec{Driver: "other", Pool: resourcev1.ResourcePool{Name: "node1", Generation: 9}, Devices: []resourcev1.Device{{Name: "vf-0"}}}},
	}
	got := FromClaims(Claims{Claims: []*resourcev1.ResourceClaim{{}, claim(result("left", "vf-0"), result("right", "0000-5e-02-1"), result("gpu", "gpu-0"))}, Slices: slices})
	want := Container{
		Resources: map[string][]string{"intel.com/a": {"0000:3b:02.1"}},
		Requests:  map[string][]string{"left": {"0000:3b:02.1"}, "right": {"0000:5e:02.1"}},
	}
	assert.Equal(t, want, got)
}

// TestAddressOfClaimedDevice: the attributes of a device win over its name, whether
// the kubelet or the claim is asked.
func TestAddressOfClaimedDevice(t *testing.T) {
	for _, test := range []struct {
		name, deviceID, pciBusID, want string
	}{
		{"vf-0", "", "0000:3b:02.1", "0000:3b:02.1"},
		{"0000-99-02-1", "", "0000:3b:02.1", "0000:3b:02.1"},
		{"pci-0000-99-02-1", "", "0000:3b:02.1", "0000:3b:02.1"},
		{"pci-0000-3b-02-1", "", "", "0000:3b:02.1"},
		{"0000-99-02-1", "mlx5_core.sf.2", "0000:3b:02.1", "mlx5_core.sf.2"},
	} {
		device := resourcev1.Device{Name: test.name, Attributes: attributes{}}
		for key, value := range map[resourcev1.QualifiedName]string{deviceIDAttribute: test.deviceID, pciBusIDAttribute: test.pciBusID} {
			if value != "" {
				device.Attributes[key] = resourcev1.DeviceAttribute{StringValue: &value}
			}
		}
		claims := Claims{Claims: []*resourcev1.ResourceClaim{claim(result("left", test.name))}, Slices: []*resourcev1.ResourceSlice{{Spec: resourcev1.ResourceSliceSpec{
			Driver: "sriov", Pool: resourcev1.ResourcePool{Name: "node1"}, Devices: []resourcev1.Device{device},
		}}}}
		pod := &podresourcesv1.PodResources{Containers: []*podresourcesv1.ContainerResources{{DynamicResources: []*podresourcesv1.DynamicResource{{
			ClaimNamespace: "demo", ClaimName: "p-vfs-x7",
			ClaimResources: []*podresourcesv1.ClaimResource{{DriverName: "sriov", PoolName: "node1", DeviceName: test.name}},
		}}}}}
		want := map[string][]string{"left": {test.want}}
		assert.Equal(t, want, FromClaims(claims).Requests, test)
		assert.Equal(t, want, FromPodResources(pod, nil, claims)[0].Requests, test)
	}
}

// TestSharesAndAdminAccess: a device may be allocated several times, each share for a
// request of its own, and with admin access while others use it.
func TestSharesAndAdminAccess(t *testing.T) {
	one, two := types.UID("11111111-1111-1111-1111-111111111111"), types.UID("22222222-2222-2222-2222-222222222222")
	shared := func(request string, share types.UID) resourcev1.DeviceRequestAllocationResult {
		r := result(request, "0000-3b-02-1")
		r.ShareID = &share
		return r
	}
	watched := result("watched", "0000-5e-02-1")
	admin := true
	watched.AdminAccess = &admin
	claims := Claims{Claims: []*resourcev1.ResourceClaim{claim(shared("left", one), shared("right", two), watched)}}
	resource := func(device string, share types.UID) *podresourcesv1.ClaimResource {
		r := &podresourcesv1.ClaimResource{DriverName: "sriov", PoolName: "node1", DeviceName: device}
		if share != "" {
			r.ShareId = (*string)(&share)
		}
		return r
	}
	pod := &podresourcesv1.PodResources{Containers: []*podresourcesv1.ContainerResources{{DynamicResources: []*podresourcesv1.DynamicResource{{
		ClaimNamespace: "demo", ClaimName: "p-vfs-x7",
		ClaimResources: []*podresourcesv1.ClaimResource{resource("0000-3b-02-1", one), resource("0000-3b-02-1", two), resource("0000-5e-02-1", "")},
	}}}}}
	want := map[string][]string{"left": {"0000:3b:02.1"}, "right": {"0000:3b:02.1"}}
	assert.Equal(t, want, FromClaims(claims).Requests)
	assert.Equal(t, want, FromPodResources(pod, nil, claims)[0].Requests)
}

func TestPCIOfDeviceName(t *testing.T) {
	for name, want := range map[string]string{
		"0000-3b-02-1": "0000:3b:02.1", "0000-3B-02-1": "0000:3b:02.1", "pci-0000-3b-02-1": "0000:3b:02.1", "pci-pci-0000-3b-02-1": "", "gpu-0": "", "0000-3b-02-9": "", "a-b-c-d-e": "", "": "",
	} {
		got, is := pciOf(name)
		assert.Equal(t, want != "", is, name)
		if is {
			assert.Equal(t, want, got, name)
		}
	}
}

// FuzzPodResources checks that no device is assigned twice, whatever the kubelet
// answers, and that the order of the answer does not matter.
func FuzzPodResources(f *testing.F) {
	seed := func(pods ...*podresourcesv1.PodResources) {
		raw, err := proto.Marshal(&podresourcesv1.ListPodResourcesResponse{PodResources: pods})
		require.NoError(f, err)
		f.Add(raw)
	}
	own := &podresourcesv1.PodResources{Name: "p", Namespace: "demo", Containers: []*podresourcesv1.ContainerResources{
		{Name: "b", Devices: []*podresourcesv1.ContainerDevices{devices("r", "a2", "a1"), devices("s", "a1", "b1")}},
		{Name: "a", Devices: []*podresourcesv1.ContainerDevices{devices("r", "c1")}, DynamicResources: []*podresourcesv1.DynamicResource{
			{ClaimName: "c", ClaimNamespace: "demo", ClaimResources: []*podresourcesv1.ClaimResource{{DriverName: "d", PoolName: "p", DeviceName: "0000-3b-02-1"}}}}},
	}}
	seed(own)
	seed(own, own)
	seed(&podresourcesv1.PodResources{Name: "p", Namespace: "demo", Containers: []*podresourcesv1.ContainerResources{{Devices: []*podresourcesv1.ContainerDevices{devices("", "", "")}}}})
	claims := Claims{Claims: []*resourcev1.ResourceClaim{{}}}
	needs := []Need{wants("n", "r", 2), wants("m", "s", 1)}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var list podresourcesv1.ListPodResourcesResponse
		if proto.Unmarshal(raw, &list) != nil {
			return
		}
		pod, err := FindPod(&list, named("demo", "p"))
		if err != nil {
			return
		}
		containers := FromPodResources(pod, []string{"b", "a"}, claims)
		first, err := Allocate("demo/p", containers, needs, noPF)
		for _, c := range containers {
			for _, ids := range c.Resources {
				slices.Reverse(ids)
			}
		}
		second, errAgain := Allocate("demo/p", containers, needs, noPF)
		require.Equal(t, err == nil, errAgain == nil, "%v, then %v", err, errAgain)
		require.Equal(t, first, second)
		given := map[string]bool{}
		for _, device := range slices.Concat(first...) {
			require.NotContains(t, given, device, "given twice: %v", first)
			given[device] = true
		}
	})
}
