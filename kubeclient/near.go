package kubeclient

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/netconf"
)

// ofNetworks lists the devices that the pod's networks have.
func ofNetworks(needs []Need, devices [][]string) (all []string) {
	for _, n := range needs {
		all = append(all, n.Fixed...)
	}
	return append(all, slices.Concat(devices...)...)
}

// near returns where the pod's devices or CPUs are, whichever the network asks for. networks
// are the devices that are left out. It returns nil if the network asks for neither.
func (n Node) near(f found, containers []Container, networks []string) *agentapi.Near {
	switch {
	case !f.isNear():
		return nil
	case f.bond.near == netconf.NearCPUs:
		return n.nearCPUs(containers)
	}
	return n.nearDevices(containers, networks)
}

// nearCPUs counts the CPUs that the pod has alone, by NUMA node.
func (n Node) nearCPUs(containers []Container) *agentapi.Near {
	nodes := cpuNodes(n.Sys)
	near := &agentapi.Near{NUMA: map[string]int{}}
	cpus := 0
	for _, c := range containers {
		for _, cpu := range c.CPUs {
			cpus++
			if node, known := nodes[cpu]; known {
				near.NUMA[node]++
			}
		}
	}
	switch {
	case cpus == 0:
		near.Unknown = "the pod has no CPUs of its own, as a Guaranteed pod has that requests whole CPUs under the kubelet's static CPU manager policy"
	case len(near.NUMA) == 0:
		near.Unknown = "the node does not report the NUMA nodes of its CPUs"
	}
	return near
}

// nearDevices counts the pod's devices, each once, by NUMA node and by PCI root.
func (n Node) nearDevices(containers []Container, networks []string) *agentapi.Near {
	near := &agentapi.Near{NUMA: map[string]int{}, Roots: map[string]int{}}
	var seen []string
	for _, c := range containers {
		for _, device := range c.devices(Want{}) {
			if slices.Contains(networks, device) || slices.Contains(seen, device) {
				continue
			}
			seen = append(seen, device)
			for _, node := range n.nodesOf(c, device) {
				near.NUMA[node]++
			}
			if root := n.rootOf(device); root != "" {
				near.Roots[root]++
			}
		}
	}
	if len(seen) > 0 && len(near.NUMA)+len(near.Roots) == 0 {
		near.Unknown = fmt.Sprintf("neither the kubelet nor sysfs has a NUMA node of the pod's devices (%s)", strings.Join(seen, ", "))
	}
	return near
}

// nodesOf returns the NUMA nodes of a device: those that its plugin has told the kubelet, or
// that of a PCI device.
func (n Node) nodesOf(c Container, device string) []string {
	if nodes := c.NUMA[device]; len(nodes) > 0 || bond.CheckPCI(device) != nil {
		return nodes
	}
	if node := bond.NUMANode(n.Sys, device); node != "" {
		return []string{node}
	}
	return nil
}

func (n Node) rootOf(device string) string {
	if bond.CheckPCI(device) != nil {
		return ""
	}
	return bond.PCIRoot(n.Sys, device)
}

// cpuNodes returns the NUMA node of each CPU
// (Documentation/ABI/stable/sysfs-devices-node).
func cpuNodes(sys fs.FS) map[int64]string {
	nodes := map[int64]string{}
	files, _ := fs.Glob(sys, "devices/system/node/node*/cpulist")
	for _, file := range files {
		text, err := fs.ReadFile(sys, file)
		if err != nil {
			continue
		}
		for part := range strings.SplitSeq(strings.TrimSpace(string(text)), ",") {
			first, last, isRange := strings.Cut(part, "-")
			if !isRange {
				last = first
			}
			from, err1 := strconv.ParseInt(first, 10, 64)
			to, err2 := strconv.ParseInt(last, 10, 64)
			for cpu := from; cpu <= to && err1 == nil && err2 == nil; cpu++ {
				nodes[cpu] = strings.TrimPrefix(path.Base(path.Dir(file)), "node")
			}
		}
	}
	return nodes
}
