package kubeclient

import (
	"maps"
	"slices"
	"strings"

	"github.com/multibond/multibond/bond/code"
)

// findRequests gives each want of a request the full name of it, claim/request, and
// reports the names that stand for several requests.
func (a *allocator) findRequests() {
	needs := slices.Clone(a.needs)
	for i, n := range needs {
		found := map[string]string{"": ""}
		needs[i].Wants = slices.Clone(n.Wants)
		for j, w := range n.Wants {
			if _, known := found[w.Request]; !known {
				found[w.Request] = a.findRequest(n, w.Request)
			}
			needs[i].Wants[j].Request = found[w.Request]
		}
	}
	a.needs = needs
}

// findRequest returns the full name of a request that a network names, or the name as
// it is if the pod has no such request. Two claims of one template have requests of
// the same names. One claim may have two names in the pod, which are no ambiguity.
func (a *allocator) findRequest(n Need, name string) string {
	var full []string
	for _, c := range a.containers {
		for _, key := range slices.Sorted(maps.Keys(c.Requests)) {
			if key == name {
				return name
			}
			if strings.HasSuffix(key, "/"+name) && !slices.Contains(full, key) {
				full = append(full, key)
			}
		}
	}
	if len(full) == 0 {
		return name
	}
	devices := func(key string) []string { return slices.Sorted(slices.Values(a.pool(Want{Request: key}))) }
	for _, other := range full[1:] {
		if !slices.Equal(devices(full[0]), devices(other)) {
			slices.Sort(full)
			a.problems.Add(code.AmbiguousRequest, "", "write the claim's name in the pod before it", "network %s: request %s of pod %s is one of %s", n.Network, name, a.pod, strings.Join(full, ", "))
			break
		}
	}
	return full[0]
}
