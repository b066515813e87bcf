package delegate

import "encoding/json"

// attachmentOrder is the order in which a pod's networks are attached, by their
// places in rs: the first is the first, the others follow as they are given,
// but before a bond over links that are in the pod come the networks that make
// them. What is given in a circle stays as it is given.
func attachmentOrder(rs []Request) (order []int) {
	maker := map[string]int{}
	for i, r := range rs {
		maker[r.IfName] = i
	}
	seen := make([]bool, len(rs))
	var attach func(i int)
	attach = func(i int) {
		if seen[i] {
			return
		}
		seen[i] = true
		if i > 0 { // a pod has its default network before all others
			for _, name := range rs[i].Network.linksInPod() {
				if from, made := maker[name]; made {
					attach(from)
				}
			}
		}
		order = append(order, i)
	}
	for i := range rs {
		attach(i)
	}
	return order
}

// linksInPod are the names of interfaces that have to be in the pod for the
// network: the links of a bond, or of one that bond-cni makes, as part of a list.
func (n Network) linksInPod() (names []string) {
	for _, l := range n.Links {
		if l.Source == FromPod {
			names = append(names, l.Name)
		}
	}
	for _, p := range n.Plain {
		var config struct {
			LinksInContainer bool
			Links            []struct{ Name string }
		}
		if p.Type == BondCNI && json.Unmarshal(p.Config, &config) == nil && config.LinksInContainer {
			for _, l := range config.Links {
				names = append(names, l.Name)
			}
		}
	}
	return names
}

// inOrder lists what order says.
func inOrder[T any](all []T, order []int) (out []T) {
	for _, i := range order {
		out = append(out, all[i])
	}
	return out
}
