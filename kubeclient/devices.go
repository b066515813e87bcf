package kubeclient

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
)

// Container has the devices of one container of the pod as the kubelet reports them:
// in no order, and possibly with duplicates.
type Container struct {
	Name      string
	Resources map[string][]string // resource name -> devices
	Requests  map[string][]string // request, or claim/request -> devices
	NUMA      map[string][]string // device -> its NUMA nodes, if its plugin has told them
	CPUs      []int64             // those that no other container has
}

// Want is one device that a network wants: any device of a resource or of a
// claim's request, or exactly Device.
type Want struct {
	Resource string
	Request  string // or claim/request
	Device   string
}

// Need is what one network of the pod needs: at most one device if it is not a
// bond, otherwise a device for each link that names none itself.
type Need struct {
	Network string // "demo/bond-net1"
	Wants   []Want
	Fixed   []string // devices that its configuration names
	Spare   int      // number of Wants that may get no device
}

// Allocate assigns the pod's devices to its networks: one device for each Want of
// each Need, in order. No device is assigned twice. Devices are taken container by
// container in the given order, sorted within a container. If several wants of one
// network share a resource, devices of different PFs are preferred, with a look
// ahead at the networks that follow. pfOf returns the PF of a device, "" if it has
// none. If there are too few devices, the last Wants of the last networks that can
// spare some get "".
//
// The result depends on no order except those of containers and needs. The error
// has all shortages.
func Allocate(pod string, containers []Container, needs []Need, pfOf func(device string) string) ([][]string, error) {
	a := allocator{pod: pod, containers: containers, needs: needs, pfOf: pfOf, owner: map[string]string{}}
	for _, n := range needs {
		a.out, a.spare = append(a.out, make([]string, len(n.Wants))), append(a.spare, n.Spare)
	}
	a.findRequests()
	if err := a.problems.Err(); err != nil {
		return nil, err
	}
	a.takeFixed()
	a.takeNamed()
	for _, s := range a.shares() {
		a.divide(s)
	}
	if err := a.problems.Err(); err != nil {
		return nil, err
	}
	return a.out, nil
}

type allocator struct {
	pod        string
	containers []Container
	needs      []Need
	pfOf       func(string) string
	owner      map[string]string // device -> the network that has it
	out        [][]string
	spare      []int // per need
	problems   bond.Problems
}

// take assigns a device to a network, or reports which network has it.
func (a *allocator) take(device string, n Need) {
	if other, given := a.owner[device]; given {
		a.problems.Add(code.DeviceTwice, "", "", "network %s requests device %s, which network %s of the pod already has", n.Network, device, other)
	}
	a.owner[device] = n.Network
}

// takeFixed reserves the devices that configurations name, whether or not they
// belong to the pod.
func (a *allocator) takeFixed() {
	for _, n := range a.needs {
		for _, device := range n.Fixed {
			a.take(device, n)
		}
	}
}

// takeNamed assigns the devices that the annotation names.
func (a *allocator) takeNamed() {
	for i, n := range a.needs {
		for j, w := range n.Wants {
			if w.Device == "" {
				continue
			}
			pool := a.pool(w)
			if !slices.Contains(pool, w.Device) {
				a.problems.Add(code.NotOfPod, "", "", "network %s requests device %s%s, pod %s has %s", n.Network, w.Device, ofWhat(w), a.pod, listed(pool))
				continue
			}
			a.take(w.Device, n)
			a.out[i][j] = w.Device
		}
	}
}

func ofWhat(w Want) string {
	if w.kind() == (Want{}) {
		return ""
	}
	return " of " + w.kind().String()
}

// kind returns the want without the name of the device.
func (w Want) kind() Want { return Want{Resource: w.Resource, Request: w.Request} }

func (w Want) String() string {
	if w.Request != "" {
		return "request " + w.Request
	}
	return w.Resource
}

func listed(devices []string) string {
	if len(devices) == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%s)", len(devices), strings.Join(devices, ", "))
}

// pool lists the devices that match w, assigned or not, in the order in which they
// are taken.
func (a *allocator) pool(w Want) []string {
	var out []string
	for _, c := range a.containers {
		for _, device := range c.devices(w) {
			if !slices.Contains(out, device) {
				out = append(out, device)
			}
		}
	}
	return out
}

// devices lists the container's devices that match w, sorted.
func (c Container) devices(w Want) []string {
	var out []string
	switch {
	case w.Request != "":
		out = slices.Clone(c.Requests[w.Request])
	case w.Resource != "":
		out = slices.Clone(c.Resources[w.Resource])
	default:
		for _, from := range []map[string][]string{c.Resources, c.Requests} {
			out = append(out, slices.Concat(slices.Collect(maps.Values(from))...)...)
		}
	}
	slices.Sort(out)
	return out
}

// share is what all networks of the pod want of one resource or request.
type share struct {
	of     Want
	groups []group
}

// group is what one network wants of a share.
type group struct {
	need  int
	wants []int
}

// shares groups the wants that name no device by their resource or request, in the
// order in which these first occur.
func (a *allocator) shares() (out []share) {
	for i, n := range a.needs {
		for j, w := range n.Wants {
			if w.Device != "" {
				continue
			}
			at := slices.IndexFunc(out, func(s share) bool { return s.of == w })
			if at < 0 {
				at, out = len(out), append(out, share{of: w})
			}
			s := &out[at]
			if last := len(s.groups) - 1; last >= 0 && s.groups[last].need == i {
				s.groups[last].wants = append(s.groups[last].wants, j)
				continue
			}
			s.groups = append(s.groups, group{need: i, wants: []int{j}})
		}
	}
	return out
}

// divide assigns the devices of one share.
func (a *allocator) divide(s share) {
	pool := a.pool(s.of)
	free := slices.DeleteFunc(slices.Clone(pool), func(device string) bool { return a.owner[device] != "" })
	var counts []int
	for _, g := range s.groups {
		counts = append(counts, len(g.wants))
	}
	short := sum(counts) - len(free)
	if !a.doWithout(s, counts, short) {
		a.reportShortage(s, pool, len(free), short)
		return
	}
	for i, devices := range spread(free, counts, a.pfOf) {
		g := s.groups[i]
		for j, device := range devices {
			a.out[g.need][g.wants[j]] = device
			a.owner[device] = a.needs[g.need].Network
		}
	}
}

// doWithout lowers the counts of the networks that can spare devices, beginning with
// the last, by short in total. It reports whether that is possible.
func (a *allocator) doWithout(s share, counts []int, short int) bool {
	for i, g := range slices.Backward(s.groups) {
		less := max(0, min(short, counts[i], a.spare[g.need]))
		counts[i], a.spare[g.need], short = counts[i]-less, a.spare[g.need]-less, short-less
	}
	return short <= 0
}

func sum(numbers []int) (total int) {
	for _, n := range numbers {
		total += n
	}
	return total
}

// reportShortage reports each network that gets too few devices if they are assigned
// in the order of the networks. short are the devices that are missing in all.
func (a *allocator) reportShortage(s share, pool []string, free, short int) {
	given := len(pool) - free
	for _, g := range s.groups {
		if len(g.wants) <= len(pool)-given {
			given += len(g.wants)
			continue
		}
		named := 0
		for _, w := range a.needs[g.need].Wants {
			if w.Device != "" && w.kind() == s.of {
				named++
			}
		}
		text := fmt.Sprintf("network %s needs %d x %s, pod %s has %s", a.needs[g.need].Network, len(g.wants)+named, s.of, a.pod, listed(pool))
		if others := given - named; others > 0 {
			text += fmt.Sprintf(", of which other networks take %d", others)
		}
		a.problems.Add(code.FewDevices, "", a.shortageHint(s.of, a.needs[g.need], len(pool)+short), "%s", text)
	}
}

// shortageHint says how many devices the pod has to request for all of its networks.
func (a *allocator) shortageHint(w Want, n Need, total int) string {
	if w.Resource == "" {
		return ""
	}
	hint := fmt.Sprintf("request %d x %s in resources.limits of its containers", total, w.Resource)
	ownNamespace, _, _ := strings.Cut(a.pod, "/")
	if namespace, _, found := strings.Cut(n.Network, "/"); found && namespace != ownNamespace {
		hint += "; deploy/inject sees NADs of other namespaces only with a binding for each of these"
	}
	return hint
}
