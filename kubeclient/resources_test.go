package kubeclient

import (
	"fmt"
	"maps"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/cnierror"
)

// TestResources checks that a pod that requests what Resources counts gets all of its networks,
// and that one device less is too few.
func TestResources(t *testing.T) {
	named := named("demo", "p")
	r := Resolver{NAD: nads(map[string]string{
		"demo/two":   `{"type":"multibond","links":[{"resourceName":"intel.com/a"},{"resourceName":"intel.com/b","count":2}]}`,
		"demo/vf":    `intel.com/a {"type":"sriov"}`,
		"demo/of-vf": `{"type":"multibond","links":[{"network":"vf","count":2}]}`,
		"demo/pool":  `{"type":"multibond","allow":["count"],"links":[{"pool":{},"count":2,"config":{"type":"macvlan"}}]}`,
	})}
	for annotation, want := range map[string]map[string]int{
		"two": {"intel.com/a": 1, "intel.com/b": 2}, "two,two@x,vf": {"intel.com/a": 3, "intel.com/b": 4}, "of-vf,vf": {"intel.com/a": 3},
		`[{"name": "pool", "cni-args": {"count": 4}}]`: {}, "": {},
	} {
		got, err := Resources(named, annotation, r)
		require.NoError(t, err, annotation)
		assert.Equal(t, want, got, annotation)
		node := Node{Containers: gives(holds(want)), PF: letterPF, InfoFile: func(Element) string { return "" }}
		_, err = Attachments(named, parse(t, annotation), r, node)
		assert.NoError(t, err, annotation)
		for resource := range want {
			fewer := maps.Clone(want)
			fewer[resource]--
			node.Containers = gives(holds(fewer))
			_, err = Attachments(named, parse(t, annotation), r, node)
			refused(t, err, cnierror.Node, fmt.Sprintf("request %d x %s in resources.limits", want[resource], resource))
		}
	}
}

// holds is a container with so many devices of each resource.
func holds(amounts map[string]int) Container {
	c := Container{Resources: map[string][]string{}}
	for resource, n := range amounts {
		for i := range n {
			c.Resources[resource] = append(c.Resources[resource], fmt.Sprint(resource, i))
		}
	}
	return c
}
