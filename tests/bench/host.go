package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/multibond/multibond/tests/cluster"
)

// Peer compares the contenders for a pod with Networks networks.
type Peer struct {
	Networks int              `json:"networks"`
	ADD      map[string]Stats `json:"add"`
	DEL      map[string]Stats `json:"del"`
	Again    map[string]Stats `json:"delAgain"` // a further DEL, with nothing left to do
	Ratios   Ratios           `json:"ratios"`
}

// Growth is Multibond's time as the size X of something grows.
type Growth struct {
	Of       string    `json:"of"`
	X        []float64 `json:"x"`
	ADD      []float64 `json:"addMS"` // medians
	DEL      []float64 `json:"delMS"`
	Slope    float64   `json:"addSlopeUS"` // microseconds of ADD per unit of X
	SlopeDEL float64   `json:"delSlopeUS"`
}

// Burst is the ADD of Pods pods at once.
type Burst struct {
	Pods   int                `json:"pods"`
	ADD    map[string]Stats   `json:"add"`
	WallMS map[string]float64 `json:"wallMS"`
	Peak   map[string]int     `json:"peakKiB"` // maximum of the private memory of all its processes together
}

// onHost measures with delegates that do nothing.
func (r *Report) onHost(ctx context.Context, given programs) error {
	m := &machine{other: given["other"] != nil}
	defer m.close()
	var err error
	if m.cluster, err = cluster.Start(ctx, cluster.Options{WithoutNode: true, Dir: clusterDir(), Log: os.Stdout}); err != nil {
		return err
	}
	defer m.cluster.Close()
	m.kubeconfig = m.cluster.Kubeconfig
	if err := m.prepareAPI(ctx); err != nil {
		return err
	}
	if err := m.growNADs(ctx, 10); err != nil {
		return err
	}
	env, err := m.inCluster(ctx)
	if err != nil {
		return err
	}
	if err := m.startDaemons(env); err != nil {
		return err
	}
	for _, step := range []func(context.Context, *machine, int) error{r.startUp, r.timeline, r.growthOfSandboxes, r.peers, r.bursts, r.growth} {
		if err := step(ctx, m, r.Rounds); err != nil {
			return errors.Join(err, m.logs())
		}
	}
	return nil
}

// prepareAPI creates the CRD and the node object.
func (m *machine) prepareAPI(ctx context.Context) error {
	const object = `{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "` + node + `"}}`
	if _, err := m.cluster.Kubectl(ctx, "", "apply", "-f", "deploy/crd.yaml"); err != nil {
		return err
	}
	if _, err := m.cluster.Kubectl(ctx, object, "apply", "-f", "-"); err != nil {
		return err
	}
	if _, err := m.cluster.Kubectl(ctx, "", "wait", "--for=condition=Established", "crd/network-attachment-definitions.k8s.cni.cncf.io", "--timeout=1m"); err != nil {
		return err
	}
	for { // pods need the service account that a controller creates
		if _, err := m.cluster.Kubectl(ctx, "", "get", "serviceaccount", "default"); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// peers times all contenders in turn, for pods of 0 to 8 networks.
func (r *Report) peers(ctx context.Context, m *machine, _ int) error {
	counts := []int{0, 1, 2, 4, 8}
	networks := map[string][]string{}
	for _, n := range counts {
		networks[fmt.Sprint("n", n)] = noops(n)
	}
	uids, err := m.addPods(ctx, networks)
	if err != nil {
		return err
	}
	netns, err := m.netns(0)
	if err != nil {
		return err
	}
	for _, n := range counts {
		pod := fmt.Sprint("n", n)
		t, err := rounds(3*r.Rounds, func(t times, round int) error {
			return t.round(ctx, m.contenders(noop), floor(n), round, func(contender) (sandbox, error) { return sandbox{"bench-" + pod, netns, pod, uids[pod]}, nil })
		})
		if err != nil {
			return err
		}
		p := Peer{Networks: n, ADD: t.stats("ADD"), DEL: t.stats("DEL"), Again: t.stats("DEL again"), Ratios: t.ratios()}
		r.Peers = append(r.Peers, p)
		fmt.Println(p)
	}
	r.growthOfPeers()
	return nil
}

// String is a line of the table.
func (p Peer) String() string {
	return fmt.Sprintf("%d networks: ADD %.1f ms, %s; DEL %.1f ms, %s", p.Networks, p.ADD["multibond"].Median, p.Ratios.of("ADD"), p.DEL["multibond"].Median, p.Ratios.of("DEL"))
}

// bursts attaches many pods at once, each with two networks.
func (r *Report) bursts(ctx context.Context, m *machine, _ int) error {
	const most = 110
	uids, err := m.addPods(ctx, burstPods(most))
	if err != nil {
		return err
	}
	if _, err := m.netns(most - 1); err != nil {
		return err
	}
	for _, n := range []int{1, 10, 60, most} {
		b := Burst{Pods: n, ADD: map[string]Stats{}, WallMS: map[string]float64{}, Peak: map[string]int{}}
		for _, c := range m.contenders(noop) {
			if c.name == "multus thin" {
				continue
			}
			peak := peakMemory(c.processes...)
			all, wall, err := burst(ctx, m, c, n, uids)
			b.Peak[c.name] = peak()
			if err != nil {
				return err
			}
			b.ADD[c.name], b.WallMS[c.name] = newStats(all), ms(wall)
		}
		r.Bursts = append(r.Bursts, b)
		fmt.Println(b)
	}
	r.Memory = map[string]int{}
	for _, p := range m.processes {
		_, r.Memory[p.name] = rss(p.cmd.Process.Pid)
	}
	return nil
}

// String is a line of the table.
func (b Burst) String() string {
	line := fmt.Sprint(b.Pods, " ADDs at once")
	for _, name := range slices.Sorted(maps.Keys(b.ADD)) {
		line += fmt.Sprintf("; %s %.0f ms in all (95%% within %.0f ms), at most %d KiB", name, b.WallMS[name], b.ADD[name].P95, b.Peak[name])
	}
	return line
}

// burst attaches n pods at once, then detaches them one by one. It returns the
// time of each ADD and of all together.
func burst(ctx context.Context, m *machine, c contender, n int, uids map[string]string) ([]time.Duration, time.Duration, error) {
	all, errs := make([]time.Duration, n), make([]error, n)
	at := func(i int) sandbox {
		netns, _ := m.netns(i)
		name := fmt.Sprint("b", i)
		return sandbox{"bench-" + name, netns, name, uids[name]}
	}
	var group sync.WaitGroup
	began := time.Now()
	for i := range n {
		group.Go(func() { all[i], errs[i] = c.call(ctx, "ADD", at(i)) })
	}
	group.Wait()
	wall := time.Since(began)
	for i := range n {
		if errs[i] != nil {
			return nil, 0, errs[i]
		}
		if _, err := c.call(ctx, "DEL", at(i)); err != nil {
			return nil, 0, err
		}
	}
	return all, wall, nil
}

// growthOf times Multibond while a node or a cluster gets more and more of something.
func (r *Report) growthOf(of string, rounds int, sizes []int, grow func(to int) error, call func(command string) (time.Duration, error)) error {
	one := Growth{Of: of}
	for _, x := range sizes {
		if err := grow(x); err != nil {
			return err
		}
		var add, del []time.Duration
		for range rounds {
			a, err := call("ADD")
			if err != nil {
				return err
			}
			d, err := call("DEL")
			if err != nil {
				return err
			}
			add, del = append(add, a), append(del, d)
		}
		one.X, one.ADD, one.DEL = append(one.X, float64(x)), append(one.ADD, newStats(add).Median), append(one.DEL, newStats(del).Median)
	}
	one.fit()
	r.Growth = append(r.Growth, one)
	fmt.Println(one)
	return nil
}

// pair returns a function that attaches and detaches a pod with two networks.
func (m *machine) pair(ctx context.Context) (func(command string) (time.Duration, error), error) {
	netns, err := m.netns(0)
	if err != nil {
		return nil, err
	}
	uids, err := m.addPods(ctx, map[string][]string{"n2": noops(2)})
	return func(command string) (time.Duration, error) {
		return multibond(agentDir).call(ctx, command, sandbox{"bench-n2", netns, "n2", uids["n2"]})
	}, err
}

// growthOfSandboxes times a pod with two networks among more and more sandboxes.
func (r *Report) growthOfSandboxes(ctx context.Context, m *machine, rounds int) error {
	call, err := m.pair(ctx)
	if err != nil {
		return err
	}
	return r.growthOf("network namespaces on the node", rounds, []int{1, 10, 100}, func(to int) error {
		_, err := m.netns(to - 1)
		return err
	}, call)
}

// growth times a pod with two networks while the cluster and the node get more of
// what must not matter to it.
func (r *Report) growth(ctx context.Context, m *machine, rounds int) error {
	call, err := m.pair(ctx)
	if err != nil {
		return err
	}
	const typical = 1000 // NADs, where the agent's own figures are taken
	growNADs := func(to int) error {
		if m.nads == typical {
			if err := r.agentFigures(ctx, m); err != nil {
				return err
			}
		}
		err := m.growNADs(ctx, to)
		time.Sleep(3 * time.Second) // until the agent has seen them
		return err
	}
	for _, g := range []struct {
		of    string
		sizes []int
		grow  func(to int) error
	}{
		{"NADs in the cluster", []int{10, 100, typical, 10000}, growNADs},
		{"Records on the node", []int{10, 100, 1000, 10000}, growRecords},
	} {
		if err := r.growthOf(g.of, rounds, g.sizes, g.grow, call); err != nil {
			return err
		}
	}
	return nil
}

// fit fits a straight line to ADD and one to DEL.
func (g *Growth) fit() {
	g.Slope, g.SlopeDEL = 1000*slope(g.X, g.ADD), 1000*slope(g.X, g.DEL)
}

// String is a line of the table.
func (g Growth) String() string {
	return fmt.Sprintf("%s %v: ADD %.1f ms, %.3f us for each additional one; DEL %.1f ms, %.3f us", g.Of, g.X, g.ADD, g.Slope, g.DEL, g.SlopeDEL)
}

// growthOfPeers adds what peers measured, by the number of networks.
func (r *Report) growthOfPeers() {
	g := Growth{Of: "networks of the pod that do nothing"}
	for _, p := range r.Peers {
		g.X, g.ADD, g.DEL = append(g.X, float64(p.Networks)), append(g.ADD, p.ADD["multibond"].Median), append(g.DEL, p.DEL["multibond"].Median)
	}
	g.fit()
	r.Growth = append(r.Growth, g)
	fmt.Println(g)
}

// growRecords writes Records of other pods until the node has as many as asked
// for.
func growRecords(to int) error {
	dir := filepath.Join(stateDir, "multibond")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for i := range to {
		name := filepath.Join(dir, fmt.Sprintf("other%d:eth0.json", i))
		if _, err := os.Stat(name); err == nil {
			continue
		}
		if err := os.WriteFile(name, []byte(`{"version":1}`), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// startUp times the start of the plugin's process, beside that of an empty program.
func (r *Report) startUp(ctx context.Context, m *machine, rounds int) error {
	r.StartUp = map[string]Stats{}
	t := map[string][]time.Duration{}
	plugins := []string{"noop", "multibond", "multus", "multus-shim"}
	if m.other {
		plugins = append(plugins, "other")
	}
	for round := range 5 * rounds {
		k := round % len(plugins)
		for _, plugin := range slices.Concat(plugins[k:], plugins[:k]) {
			took, _, err := execute(ctx, plugin, "VERSION", "eth0", map[string]string{"cniVersion": "1.0.0"}, sandbox{})
			if err != nil {
				return err
			}
			t[plugin] = append(t[plugin], took)
		}
	}
	for plugin, all := range t {
		r.StartUp[plugin] = newStats(all)
	}
	r.StartUpRatio = newRatio(t["multibond"], t["noop"])
	fmt.Printf("start-up: multibond %.1f ms, %s of an empty program's\n", r.StartUp["multibond"].Median, r.StartUpRatio)
	if m.other {
		r.StartUpOther = newRatio(t["multibond"], t["other"])
		fmt.Printf("start-up: %s of the other version's\n", r.StartUpOther)
	}
	return r.imports(ctx)
}
