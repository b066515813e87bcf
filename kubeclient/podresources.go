package kubeclient

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	podresourcesv1 "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/multibond/multibond/bond"
)

// ContainerOrder returns the containers of a pod in the order in which their devices
// are taken: first the init containers that keep running, then the others.
func ContainerOrder(pod *corev1.Pod) []string {
	var names []string
	for _, c := range running(pod) {
		names = append(names, c.Name)
	}
	return names
}

// running returns the containers that run as long as the pod does, in ContainerOrder.
func running(pod *corev1.Pod) (all []corev1.Container) {
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			all = append(all, c)
		}
	}
	return append(all, pod.Spec.Containers...)
}

// inOrder sorts containers by order. Those not in it follow, sorted by name.
func inOrder(containers []Container, order []string) []Container {
	rank := func(c Container) int {
		if i := slices.Index(order, c.Name); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortFunc(containers, func(a, b Container) int {
		if ra, rb := rank(a), rank(b); ra != rb {
			return ra - rb
		}
		return strings.Compare(a.Name, b.Name)
	})
	return containers
}

// errTwice is returned when the kubelet lists a pod of the same name twice.
var errTwice = errors.New("the kubelet lists it twice")

// FindPod finds a pod in the kubelet's answer to List. It fails if the name occurs
// twice, because nothing in the answer tells the two pods apart.
func FindPod(list *podresourcesv1.ListPodResourcesResponse, pod types.NamespacedName) (*podresourcesv1.PodResources, error) {
	var found *podresourcesv1.PodResources
	for _, p := range list.GetPodResources() {
		if p.GetNamespace() != pod.Namespace || p.GetName() != pod.Name {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("pod %s: %w", pod, errTwice)
		}
		found = p
	}
	if found == nil {
		return nil, fmt.Errorf("the kubelet does not list pod %s", pod)
	}
	return found, nil
}

// FromPodResources returns the devices of a pod from the kubelet's answer to Get or
// List, with the containers in order. Of DRA it returns the devices whose address is
// in their attributes or their name. Attributes and requests come from the pod's
// claims, because the kubelet does not report them. A claim's name is also that of a
// resource with all its devices, as for Multus. It has no slash, so it is no other's.
func FromPodResources(pod *podresourcesv1.PodResources, order []string, claims Claims) []Container {
	var out []Container
	for _, c := range pod.GetContainers() {
		one := newContainer(c.GetName())
		one.CPUs = c.GetCpuIds()
		for _, d := range c.GetDevices() {
			one.Resources[d.GetResourceName()] = append(one.Resources[d.GetResourceName()], d.GetDeviceIds()...)
			one.addNUMA(d)
		}
		for _, d := range c.GetDynamicResources() {
			one.addDynamic(d, claims)
		}
		out = append(out, one)
	}
	return inOrder(out, order)
}

func newContainer(name string) Container {
	return Container{Name: name, Resources: map[string][]string{}, Requests: map[string][]string{}}
}

// addNUMA adds the NUMA nodes of devices.
func (c *Container) addNUMA(d *podresourcesv1.ContainerDevices) {
	for _, node := range d.GetTopology().GetNodes() {
		if c.NUMA == nil {
			c.NUMA = map[string][]string{}
		}
		for _, device := range d.GetDeviceIds() {
			c.NUMA[device] = append(c.NUMA[device], strconv.FormatInt(node.GetID(), 10))
		}
	}
}

// addDynamic adds the devices of one claim.
func (c Container) addDynamic(d *podresourcesv1.DynamicResource, claims Claims) {
	results := resultsOf(claims.Claims, types.NamespacedName{Namespace: d.GetClaimNamespace(), Name: d.GetClaimName()})
	for _, r := range d.GetClaimResources() {
		names := []string{""}
		var known attributes
		if i := slices.IndexFunc(results, func(result allocated) bool { return isResult(r, result) }); i >= 0 {
			if forAdmin(results[i]) {
				continue
			}
			names, known = requestNames(results[i], claims.InPod[d.GetClaimName()]), attributesOf(claims.Slices, results[i])
		}
		device, is := deviceOf(r.GetDeviceName(), known)
		if is {
			c.addRequest(names, device)
		} else if device, is = cdiDevice(r); !is {
			continue
		}
		c.Resources[d.GetClaimName()] = append(c.Resources[d.GetClaimName()], device)
	}
}

// cdiDevice returns the name of a device for the container runtime, without its vendor and
// class: Multus takes it for the device's ID.
func cdiDevice(r *podresourcesv1.ClaimResource) (string, bool) {
	for _, d := range r.GetCdiDevices() {
		if _, id, is := strings.Cut(d.GetName(), "="); is {
			return id, true
		}
	}
	return "", false
}

// isResult reports whether the kubelet's device is the one of an allocation result:
// the share too, if a device is allocated several times.
func isResult(r *podresourcesv1.ClaimResource, result allocated) bool {
	return result.Driver == r.GetDriverName() && result.Pool == r.GetPoolName() && result.Device == r.GetDeviceName() &&
		shareOf(result) == r.GetShareId()
}

// pciOf returns the PCI address in a device name of DRA, where hyphens replace the
// colons and the dot: 0000-3b-02-1, or pci-0000-3b-02-1.
func pciOf(name string) (string, bool) {
	parts := strings.Split(strings.TrimPrefix(strings.ToLower(name), "pci-"), "-")
	if len(parts) != 4 {
		return "", false
	}
	address := strings.Join(parts[:3], ":") + "." + parts[3]
	return address, bond.CheckPCI(address) == nil
}
