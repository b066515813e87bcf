package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/multibond/multibond/tests/cluster"
)

// Peer is what the contenders needed for a pod with so many networks.
type Peer struct {
	Networks int              `json:"networks"`
	ADD      map[string]Stats `json:"add"`
	DEL      map[string]Stats `json:"del"`
	Again    map[string]Stats `json:"delAgain"` // a DEL with nothing left to do
}

// Growth is Multibond's time against the size of something.
type Growth struct {
	Of    string    `json:"of"`
	X     []float64 `json:"x"`
	ADD   []float64 `json:"addMS"` // medians
	DEL   []float64 `json:"delMS"`
	Slope float64   `json:"addSlopeUS"` // microseconds of ADD for each one more
}

// Burst is so many ADDs at once.
type Burst struct {
	Pods   int                `json:"pods"`
	ADD    map[string]Stats   `json:"add"`
	WallMS map[string]float64 `json:"wallMS"`
}

// onHost measures with delegates that do nothing.
func (r *Report) onHost(ctx context.Context, rounds int) error {
	m := &machine{}
	defer m.close()
	fmt.Println("building the contenders, starting a control plane")
	if err := m.install(ctx); err != nil {
		return err
	}
	var err error
	if m.cluster, err = cluster.Start(ctx, cluster.Options{WithoutNode: true, Log: os.Stdout}); err != nil {
		return err
	}
	defer m.cluster.Close()
	if err := m.prepareAPI(ctx); err != nil {
		return err
	}
	if err := m.startDaemons(ctx); err != nil {
		return err
	}
	for _, step := range []func(context.Context, *machine, int) error{r.startUp, r.timeline, r.peers, r.bursts, r.growth} {
		if err := step(ctx, m, rounds); err != nil {
			return errors.Join(err, m.logs())
		}
	}
	return nil
}

// prepareAPI makes what a cluster has: the CRD, the node, and some NADs.
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
	for { // pods need the account that a controller makes
		if _, err := m.cluster.Kubectl(ctx, "", "get", "serviceaccount", "default"); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	return m.addNADs(ctx, 0, 10)
}

// peers times all contenders in turn, for pods of 0 to 8 networks.
func (r *Report) peers(ctx context.Context, m *machine, rounds int) error {
	counts := map[string]int{"n0": 0, "n1": 1, "n2": 2, "n4": 4, "n8": 8}
	uids, err := m.addPods(ctx, counts)
	if err != nil {
		return err
	}
	netns, err := m.netns(0)
	if err != nil {
		return err
	}
	for _, pod := range []string{"n0", "n1", "n2", "n4", "n8"} {
		t := newTimes()
		for round := range rounds + 1 { // the first warms up
			if err := t.round(ctx, contenders(m.cluster.Kubeconfig), round, counts[pod], sandbox{"bench-" + pod, netns, pod, uids[pod]}); err != nil {
				return err
			}
			if round == 0 {
				t = newTimes()
			}
		}
		p := Peer{Networks: counts[pod], ADD: t.stats("ADD"), DEL: t.stats("DEL"), Again: t.stats("DEL again")}
		r.Peers = append(r.Peers, p)
		fmt.Printf("%d networks: ADD multibond %.1f ms, %.2f of thin, %.2f of thick, floor %.1f ms; DEL %.1f ms, %.2f of thin, %.2f of thick\n", p.Networks,
			p.ADD["multibond"].Median, ratio(p.ADD, "multus thin"), ratio(p.ADD, "multus thick"), p.ADD["floor"].Median,
			p.DEL["multibond"].Median, ratio(p.DEL, "multus thin"), ratio(p.DEL, "multus thick"))
	}
	return nil
}

func ratio(s map[string]Stats, to string) float64 { return s["multibond"].Median / s[to].Median }

// times are durations by what was called, by contender.
type times map[string]map[string][]time.Duration

func newTimes() times {
	return times{"ADD": {}, "DEL": {}, "DEL again": {}}
}

func (t times) stats(what string) map[string]Stats {
	out := map[string]Stats{}
	for name, all := range t[what] {
		out[name] = newStats(all)
	}
	return out
}

// round calls each contender once, in an order that the round turns, and the
// floor last.
func (t times) round(ctx context.Context, all []contender, round, networks int, s sandbox) error {
	k := round % len(all)
	for _, c := range slices.Concat(all[k:], all[:k]) {
		for _, what := range []string{"ADD", "DEL", "DEL again"} {
			took, err := c.call(ctx, what[:3], s)
			if err != nil {
				return err
			}
			t[what][c.name] = append(t[what][c.name], took)
		}
	}
	for _, what := range []string{"ADD", "DEL"} {
		took, err := floor(ctx, what, networks, s)
		if err != nil {
			return err
		}
		t[what]["floor"] = append(t[what]["floor"], took)
	}
	return nil
}

// bursts attach many pods at once, each of two networks.
func (r *Report) bursts(ctx context.Context, m *machine, _ int) error {
	const most = 110
	counts := map[string]int{}
	for i := range most {
		counts[fmt.Sprint("b", i)] = 2
	}
	uids, err := m.addPods(ctx, counts)
	if err != nil {
		return err
	}
	if _, err := m.netns(most - 1); err != nil {
		return err
	}
	for _, n := range []int{1, 10, 60, most} {
		b := Burst{Pods: n, ADD: map[string]Stats{}, WallMS: map[string]float64{}}
		for _, c := range contenders(m.cluster.Kubeconfig) {
			if c.name == "multus thin" {
				continue
			}
			all, wall, err := burst(ctx, m, c, n, uids)
			if err != nil {
				return err
			}
			b.ADD[c.name], b.WallMS[c.name] = newStats(all), ms(wall)
		}
		r.Bursts = append(r.Bursts, b)
		fmt.Printf("%d ADDs at once: multibond %.0f ms in all (95%% within %.0f ms), multus thick %.0f ms (%.0f ms)\n", n,
			b.WallMS["multibond"], b.ADD["multibond"].P95, b.WallMS["multus thick"], b.ADD["multus thick"].P95)
	}
	r.Memory = map[string]int{}
	for _, p := range m.processes {
		_, r.Memory[p.name] = rss(p.cmd.Process.Pid)
	}
	return nil
}

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

// growth times Multibond against what a node and a cluster have more and more of.
func (r *Report) growth(ctx context.Context, m *machine, rounds int) error {
	multibond := contenders(m.cluster.Kubeconfig)[0]
	netns, err := m.netns(0)
	if err != nil {
		return err
	}
	uids, err := m.addPods(ctx, map[string]int{"n2": 2})
	if err != nil {
		return err
	}
	s := sandbox{"bench-n2", netns, "n2", uids["n2"]}
	nads := 10
	for _, g := range []struct {
		of   string
		x    []int
		grow func(to int) error
	}{
		{"NADs in the cluster", []int{10, 100, 1000}, func(to int) error {
			if to == nads {
				return nil
			}
			err := m.addNADs(ctx, nads, to)
			nads = to
			time.Sleep(3 * time.Second) // the agent watches them come in
			return err
		}},
		{"Records on the node", []int{10, 100, 1000, 10000}, growRecords},
	} {
		one := Growth{Of: g.of}
		for _, x := range g.x {
			if err := g.grow(x); err != nil {
				return err
			}
			var add, del []time.Duration
			for range rounds {
				a, err := multibond.call(ctx, "ADD", s)
				if err != nil {
					return err
				}
				d, err := multibond.call(ctx, "DEL", s)
				if err != nil {
					return err
				}
				add, del = append(add, a), append(del, d)
			}
			one.X, one.ADD, one.DEL = append(one.X, float64(x)), append(one.ADD, newStats(add).Median), append(one.DEL, newStats(del).Median)
		}
		one.Slope = 1000 * slope(one.X, one.ADD)
		r.Growth = append(r.Growth, one)
		fmt.Printf("%s %v: ADD %v ms, %.3f us for each one more\n", one.Of, one.X, one.ADD, one.Slope)
	}
	return nil
}

// growRecords copies a Record, as a node has one for each of its pods.
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

// startUp times the plugin's process by itself, beside an empty program's.
func (r *Report) startUp(ctx context.Context, m *machine, rounds int) error {
	r.StartUp = map[string]Stats{}
	t := map[string][]time.Duration{}
	for range 5 * rounds {
		for plugin, command := range map[string]string{"noop": "VERSION", "multibond": "VERSION", "multus": "VERSION", "multus-shim": "VERSION"} {
			took, err := execute(ctx, plugin, command, "eth0", map[string]string{"cniVersion": "1.0.0"}, sandbox{})
			if err != nil {
				return err
			}
			t[plugin] = append(t[plugin], took)
		}
	}
	for plugin, all := range t {
		r.StartUp[plugin] = newStats(all)
	}
	fmt.Printf("start-up: multibond %.1f ms, %.2f of an empty program's\n", r.StartUp["multibond"].Median, r.StartUp["multibond"].Median/r.StartUp["noop"].Median)
	return nil
}
