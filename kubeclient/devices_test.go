package kubeclient

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// has returns a container with devices of one resource.
func has(resource string, devices ...string) Container {
	return Container{Resources: map[string][]string{resource: devices}}
}

// wants returns the need of a network for n devices of a resource.
func wants(network, resource string, n int) Need {
	return Need{Network: network, Wants: slices.Repeat([]Want{{Resource: resource}}, n)}
}

// spares returns need with n devices that may be missing.
func spares(need Need, n int) Need {
	need.Spare = n
	return need
}

// letterPF returns the first letter of a device's name as its PF.
func letterPF(device string) string { return device[:1] }

func noPF(string) string { return "" }

func TestAllocate(t *testing.T) {
	for name, test := range map[string]struct {
		containers []Container
		needs      []Need
		want       [][]string
	}{
		"nothing": {nil, []Need{{Network: "demo/a"}}, [][]string{{}}},
		"sorted, no duplicates": {
			[]Container{has("r", "c3", "a1", "b2", "a1")}, []Need{wants("n", "r", 3)}, [][]string{{"a1", "b2", "c3"}},
		},
		"containers in order": {
			[]Container{has("r", "x9"), has("r", "a1", "x9")}, []Need{wants("n", "r", 1), wants("m", "r", 1)}, [][]string{{"x9"}, {"a1"}},
		},
		"different PFs within a network": {
			[]Container{has("r", "a1", "a2", "b1", "b2")}, []Need{wants("n", "r", 2), wants("m", "r", 2)}, [][]string{{"a1", "b1"}, {"a2", "b2"}},
		},
		"looks ahead": {
			[]Container{has("r", "a1", "b1", "c1", "c2")}, []Need{wants("n", "r", 2), wants("m", "r", 2)}, [][]string{{"a1", "c1"}, {"b1", "c2"}},
		},
		"a plain network leaves a bond its PFs": {
			[]Container{has("r", "a1", "b1", "b2")}, []Need{wants("n", "r", 1), wants("m", "r", 2)}, [][]string{{"b1"}, {"a1", "b2"}},
		},
		"one PF where there is no other": {
			[]Container{has("r", "a1", "a2")}, []Need{wants("n", "r", 2)}, [][]string{{"a1", "a2"}},
		},
		"two resources": {
			[]Container{{Resources: map[string][]string{"r": {"a1"}, "s": {"b1"}}}},
			[]Need{{Network: "n", Wants: []Want{{Resource: "s"}, {Resource: "r"}}}}, [][]string{{"b1", "a1"}},
		},
		"a device of two resources once": {
			[]Container{{Resources: map[string][]string{"r": {"a1"}, "s": {"a1", "b1"}}}},
			[]Need{wants("n", "r", 1), wants("m", "s", 1)}, [][]string{{"a1"}, {"b1"}},
		},
		"a request": {
			[]Container{{Requests: map[string][]string{"vf": {"a1"}, "gpu": {"b1"}}}},
			[]Need{{Network: "n", Wants: []Want{{Request: "vf"}}}}, [][]string{{"a1"}},
		},
		"one by name, though another comes first": {
			[]Container{has("r", "a1", "b1")}, []Need{wants("n", "r", 1), {Network: "m", Wants: []Want{{Resource: "r", Device: "a1"}}}}, [][]string{{"b1"}, {"a1"}},
		},
		"one by name of any resource": {
			[]Container{has("r", "a1"), {Requests: map[string][]string{"q": {"b1"}}}}, []Need{{Network: "m", Wants: []Want{{Device: "b1"}}}}, [][]string{{"b1"}},
		},
		"fewer, where the network can do with them": {
			[]Container{has("r", "a1", "b1")}, []Need{spares(wants("n", "r", 3), 1)}, [][]string{{"a1", "b1", ""}},
		},
		"fewer, the last network that can do with them": {
			[]Container{has("r", "a1", "a2", "b1", "b2")}, []Need{spares(wants("n", "r", 2), 1), spares(wants("m", "r", 2), 1), wants("o", "r", 1)}, [][]string{{"a1", "b1"}, {"a2", ""}, {"b2"}},
		},
		"fewer, of one resource and not of another": {
			[]Container{has("s", "b1")}, []Need{{Network: "n", Wants: []Want{{Resource: "r"}, {Resource: "s"}}, Spare: 1}}, [][]string{{"", "b1"}},
		},
		"all of them, where there are enough": {
			[]Container{has("r", "a1", "b1")}, []Need{spares(wants("n", "r", 2), 1)}, [][]string{{"a1", "b1"}},
		},
		"one that a configuration names": {
			[]Container{has("r", "a1", "b1")}, []Need{wants("n", "r", 1), {Network: "m", Fixed: []string{"a1", "z9"}}}, [][]string{{"b1"}, {}},
		},
	} {
		got, err := Allocate("demo/p", test.containers, test.needs, letterPF)
		assert.NoError(t, err, name)
		assert.Equal(t, test.want, got, name)
	}
}

func TestTooFewDevices(t *testing.T) {
	named := func(resource, device string) Want { return Want{Resource: resource, Device: device} }
	for want, test := range map[string]struct {
		containers []Container
		needs      []Need
	}{
		"network demo/bond-net1 needs 2 x intel.com/a, pod demo/p has 1 (0000:3b:02.1) (request 2 x intel.com/a in resources.limits of its containers)": {
			[]Container{has("intel.com/a", "0000:3b:02.1")}, []Need{wants("demo/bond-net1", "intel.com/a", 2)},
		},
		"network other/n needs 1 x r, pod demo/p has 0 (request 1 x r in resources.limits of its containers; deploy/inject sees NADs of other namespaces only with a binding for each of these)": {
			nil, []Need{wants("other/n", "r", 1)},
		},
		"network n needs 3 x r, pod demo/p has 1 (a) (request 3 x r in resources.limits of its containers)": {
			[]Container{has("r", "a")}, []Need{spares(wants("n", "r", 3), 1)},
		},
		"network n needs 1 x r, pod demo/p has 0 (request 1 x r in resources.limits of its containers)": {
			nil, []Need{wants("n", "r", 1)},
		},
		"network m needs 2 x r, pod demo/p has 3 (a, b, c), of which other networks take 2 (request 4 x r in resources.limits of its containers)": {
			[]Container{has("r", "c", "b", "a")}, []Need{wants("n", "r", 2), wants("m", "r", 2)},
		},
		"network n needs 2 x r, pod demo/p has 1 (a) (request 4 x r in resources.limits of its containers); network m needs 2 x r, pod demo/p has 1 (a) (request 4 x r in resources.limits of its containers)": {
			[]Container{has("r", "a")}, []Need{wants("n", "r", 2), wants("m", "r", 2)},
		},
		"network n needs 1 x r, pod demo/p has 0 (request 1 x r in resources.limits of its containers); network n needs 1 x request q, pod demo/p has 0": {
			nil, []Need{{Network: "n", Wants: []Want{{Resource: "r"}, {Request: "q"}}}},
		},
		"network n needs 2 x r, pod demo/p has 1 (a) (request 2 x r in resources.limits of its containers)": {
			[]Container{has("r", "a")}, []Need{{Network: "n", Wants: []Want{named("r", "a"), {Resource: "r"}}}},
		},
		"network n requests device z of r, pod demo/p has 1 (a)": {
			[]Container{has("r", "a"), has("s", "z")}, []Need{{Network: "n", Wants: []Want{named("r", "z")}}},
		},
		"network n requests device z, pod demo/p has 0": {
			nil, []Need{{Network: "n", Wants: []Want{{Device: "z"}}}},
		},
		"network m requests device a, which network n of the pod already has": {
			[]Container{has("r", "a")}, []Need{{Network: "n", Wants: []Want{named("r", "a")}}, {Network: "m", Wants: []Want{named("r", "a")}}},
		},
		"network n requests device a, which network m of the pod already has": {
			[]Container{has("r", "a")}, []Need{{Network: "n", Wants: []Want{named("r", "a")}}, {Network: "m", Fixed: []string{"a"}}},
		},
	} {
		got, err := Allocate("demo/p", test.containers, test.needs, noPF)
		assert.EqualError(t, err, want)
		assert.Nil(t, got, want)
	}
}

// randomPod returns a random pod that has enough devices for its networks.
func randomPod(r *rand.Rand) (containers []Container, needs []Need) {
	resources := []string{"r", "s"}
	total := map[string]int{}
	for range 1 + r.IntN(3) {
		c := Container{Resources: map[string][]string{}}
		for _, resource := range resources {
			for range r.IntN(5) {
				device := fmt.Sprintf("%c%s%d", 'a'+rune(r.IntN(3)), resource, r.IntN(9))
				c.Resources[resource] = append(c.Resources[resource], device)
			}
		}
		containers = append(containers, c)
	}
	for i := range 1 + r.IntN(4) {
		n := Need{Network: fmt.Sprint("n", i)}
		for range r.IntN(4) {
			resource := resources[r.IntN(2)]
			a := allocator{containers: containers}
			if total[resource]++; total[resource] <= len(a.pool(Want{Resource: resource})) {
				n.Wants = append(n.Wants, Want{Resource: resource})
			}
		}
		needs = append(needs, n)
	}
	return containers, needs
}

// shuffled returns what the kubelet could have answered to another call.
func shuffled(r *rand.Rand, containers []Container) (out []Container) {
	for _, c := range containers {
		other := Container{Resources: map[string][]string{}}
		for resource, devices := range c.Resources {
			again := slices.Clone(devices)
			for _, device := range devices {
				if r.IntN(3) == 0 {
					again = append(again, device)
				}
			}
			r.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
			other.Resources[resource] = again
		}
		out = append(out, other)
	}
	return out
}

func checkAllocation(t *testing.T, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	containers, needs := randomPod(r)
	got, err := Allocate("demo/p", containers, needs, letterPF)
	require.NoError(t, err, "seed %d", seed)
	given := map[string]bool{}
	for i, n := range needs {
		for j, w := range n.Wants {
			device := got[i][j]
			require.NotContains(t, given, device, "seed %d: %v", seed, got)
			require.Contains(t, device, w.Resource, "seed %d: %v", seed, got)
			given[device] = true
		}
	}
	again, err := Allocate("demo/p", shuffled(r, containers), needs, letterPF)
	require.NoError(t, err, "seed %d, in another order", seed)
	require.Equal(t, got, again, "seed %d, in another order", seed)
}

func TestAllocateProperties(t *testing.T) {
	for seed := range uint64(3000) {
		checkAllocation(t, seed)
	}
}

func FuzzAllocate(f *testing.F) {
	f.Add(uint64(7))
	f.Fuzz(func(t *testing.T, seed uint64) { checkAllocation(t, seed) })
}

// best returns the largest number of different PFs by trying every assignment.
func best(devices []string, counts []int) int {
	if len(counts) == 0 {
		return 0
	}
	most := 0
	choose(devices, counts[0], func(picked, rest []string) {
		pfs := map[string]bool{}
		for _, device := range picked {
			pfs[letterPF(device)] = true
		}
		most = max(most, len(pfs)+best(rest, counts[1:]))
	})
	return most
}

func choose(devices []string, k int, each func(picked, rest []string)) {
	for set := range 1 << len(devices) {
		var picked, rest []string
		for i, device := range devices {
			if set>>i&1 == 1 {
				picked = append(picked, device)
			} else {
				rest = append(rest, device)
			}
		}
		if len(picked) == k {
			each(picked, rest)
		}
	}
}

func TestSpreadIsBest(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		var devices []string
		for i := range 1 + r.IntN(7) {
			devices = append(devices, fmt.Sprintf("%c%d", 'a'+rune(r.IntN(4)), i))
		}
		slices.Sort(devices)
		var counts []int
		for left := len(devices); left > 0 && len(counts) < 3; {
			k := 1 + r.IntN(left)
			counts, left = append(counts, k), left-k
		}
		got := 0
		for _, group := range spread(devices, counts, letterPF) {
			pfs := map[string]bool{}
			for _, device := range group {
				pfs[letterPF(device)] = true
			}
			got += len(pfs)
		}
		require.Equal(t, best(devices, counts), got, "different PFs, %v in %v", devices, counts)
	}
}

// TestSpreadOverCards checks that PFs of different cards are preferred, but never to
// the cost of different PFs.
func TestSpreadOverCards(t *testing.T) {
	// The name of a device is that of its PF and a letter.
	pf := func(device string) string { return device[:len(device)-1] }
	for _, test := range []struct {
		devices []string
		counts  []int
		want    [][]string
	}{
		{[]string{"3b.0x", "3b.1x", "5e.0x", "5e.1x"}, []int{2, 2}, [][]string{{"3b.0x", "5e.0x"}, {"3b.1x", "5e.1x"}}},
		{[]string{"3b.0x", "3b.1x", "5e.0x"}, []int{3}, [][]string{{"3b.0x", "5e.0x", "3b.1x"}}},
		{[]string{"3b.0x", "3b.1x"}, []int{2}, [][]string{{"3b.0x", "3b.1x"}}},
		{[]string{"3b.0x", "3b.0y", "3b.1x", "5e.0x"}, []int{1, 3}, [][]string{{"3b.0x"}, {"3b.0y", "5e.0x", "3b.1x"}}},
	} {
		assert.Equal(t, test.want, spread(test.devices, test.counts, pf), "%v", test.devices)
	}
}
