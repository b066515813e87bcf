//go:build lab

package kubeclient

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/kubeclient/kubefake"
)

// labPods is how many pods with a bond are on the node.
const labPods = 110

// The agent's pages, and the program itself, as the manifests have it.
const (
	labListen = "127.0.0.1:9476"
	labAgent  = "/lab/bin/multibond-agent"
)

// labReport is where the figures of TestLabManyBonds go.
const labReport = "/tmp/watch.json"

// labNode is a node of the lab: an agent in a process of its own, and pods whose bonds are
// real. Their links are on two devices, as VFs are on their PFs: one that loses its carrier
// takes it from all of its links at once.
type labNode struct {
	*testing.T
	api   *kubefake.API
	host  bond.Namespace
	agent process
	pods  map[string]bond.Namespace
	bonds map[string]agentapi.Bond
}

// ip runs the commands of a text, in a network namespace if its name is not empty.
func (n *labNode) ip(netns string, commands ...string) {
	n.Helper()
	args := []string{"-batch", "-"}
	if netns != "" {
		args = append([]string{"-n", netns}, args...)
	}
	cmd := exec.Command("ip", args...)
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	out, err := cmd.CombinedOutput()
	require.NoError(n, err, "%v: %s", commands[:min(3, len(commands))], out)
}

func newLabNode(t *testing.T) *labNode {
	n := &labNode{T: t, api: kubefake.NewAPI(t), pods: map[string]bond.Namespace{}, bonds: map[string]agentapi.Bond{}}
	var err error
	n.host, err = bond.System{}.Host()
	require.NoError(t, err)
	t.Cleanup(func() { n.host.Close() })
	n.ip("", "link add pf1 type dummy", "link add pf2 type dummy", "link set pf1 up", "link set pf2 up")
	t.Cleanup(func() { n.ip("", "link del pf1", "link del pf2") })
	n.agent = process{dir: kubefake.ShortDir(t)}
	n.start()
	return n
}

// start starts the agent, and waits until it is ready.
func (n *labNode) start() {
	o := processOptions(n.agent.dir)
	n.agent.cmd = exec.Command(labAgent, "-kubeconfig="+kubeconfig(n.T, "http://"+n.api.Address), "-node-name=n1", "-socket="+o.Socket, "-state-dir="+o.StateDir, "-log-level=ERROR")
	n.agent.cmd.Stderr = os.Stderr
	require.NoError(n, n.agent.cmd.Start())
	n.Cleanup(n.agent.kill)
	eventually(n.T, func(c *assert.CollectT) { require.NoError(c, n.agent.client().Ready(n.Context())) })
}

// begin makes a pod's namespace, and in it what the plugin finds before it makes a bond. It
// returns how long the plugin takes to have the pod heard of.
func (n *labNode) begin(name string) (took time.Duration) {
	n.ip("", "netns add "+name,
		"link add name "+name+"-1 link pf1 type macvlan mode bridge", "link set "+name+"-1 netns "+name+" name bond0-1",
		"link add name "+name+"-2 link pf2 type macvlan mode bridge", "link set "+name+"-2 netns "+name+" name bond0-2")
	pod, err := bond.System{}.Open("/run/netns/" + name)
	require.NoError(n, err)
	n.pods[name] = pod
	began := time.Now()
	id, err := n.host.Number(pod)
	took = time.Since(began)
	require.NoError(n, err)
	n.bonds[name] = agentapi.Bond{Pod: agentapi.Pod{Namespace: "demo", Name: name, UID: "uid-" + name}, Network: "demo/net", IfName: "bond0", NSID: id, Wanted: 2}
	return took
}

// attach makes a pod with a bond, and tells the agent of it as ADD does.
func (n *labNode) attach(name string) (took time.Duration) {
	n.api.Put(podResource, "demo", name, podObject("uid-"+name, nil))
	took = n.begin(name)
	n.ip(name, "link add bond0 type bond mode active-backup miimon 100", "link set bond0-1 down", "link set bond0-1 master bond0",
		"link set bond0-2 down", "link set bond0-2 master bond0", "link set bond0 up", "link set lo up")
	b := n.bonds[name]
	for _, link := range []string{"bond0", "bond0-1", "bond0-2"} {
		l, err := n.pods[name].Link(link)
		require.NoError(n, err)
		if link == "bond0" {
			b.Index = l.Index
		} else {
			b.Links = append(b.Links, agentapi.BondLink{Name: link, Index: l.Index, PF: "pf" + link[len(link)-1:]})
		}
	}
	n.bonds[name] = b
	n.told(b)
	return took
}

// told tells the agent of a bond.
func (n *labNode) told(b agentapi.Bond) {
	reply, err := n.agent.client().Publish(n.Context(), agentapi.Publish{Verb: "ADD", Pod: b.Pod, Bonds: []agentapi.Bond{b}})
	require.NoError(n, err)
	require.False(n, reply.Blind)
}

// end ends a pod.
func (n *labNode) end(name string) {
	require.NoError(n, n.pods[name].Close())
	n.ip("", "netns del "+name)
	delete(n.pods, name)
	delete(n.bonds, name)
}

// giveEyes hands a socket and the state of all bonds to the agent, as the plugin does.
func (n *labNode) giveEyes() {
	socket, err := bond.System{}.OpenEvents()
	require.NoError(n, err)
	defer socket.Close()
	w := agentapi.Watch{Events: socket, At: time.Now()}
	for name, b := range n.bonds {
		w.Bonds = append(w.Bonds, b)
		now, err := n.pods[name].Observe(b.NSID)
		require.NoError(n, err)
		for _, e := range now {
			if e.Link.Index == b.Index || e.Member != nil {
				w.Now = append(w.Now, e)
			}
		}
	}
	require.NoError(n, n.agent.client().Watch(n.Context(), w))
}

// page returns the agent's metrics.
func (n *labNode) page() string {
	response, err := http.Get("http://" + labListen + "/metrics")
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return string(body)
}

// values returns a metric of each pod.
func values(page, metric string) map[string]string {
	out := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^`+metric+`\{bond="bond0",namespace="demo",pod="([^"]+)"\} (\d+)$`).FindAllStringSubmatch(page, -1) {
		out[m[1]] = m[2]
	}
	return out
}

// numberOf returns a metric of the agent itself.
func numberOf(page, metric string) (value float64) {
	value = math.NaN()
	if m := regexp.MustCompile(`(?m)^` + metric + ` (\S+)$`).FindStringSubmatch(page); m != nil {
		fmt.Sscan(m[1], &value)
	}
	return value
}

// await waits until a metric is the same for all pods, and returns how long that took.
func (n *labNode) await(metric, want string) time.Duration {
	n.Helper()
	began, all := time.Now(), map[string]string{}
	for name := range n.bonds {
		all[name] = want
	}
	eventually(n.T, func(c *assert.CollectT) { require.Equal(c, all, values(n.page(), metric)) })
	return time.Since(began)
}

// toldOf returns how many pods were told of something.
func (n *labNode) toldOf(reason string) (count int) {
	for _, e := range n.api.Of(eventResource) {
		if e["reason"] == reason {
			count++
		}
	}
	return count
}

// TestLabManyBonds: 110 pods lose the same PF. Each failover is counted, although the agent
// stands still meanwhile, and its pod is told. Pods that end and begin get nothing of each
// other. An agent that is killed knows all bonds again.
func TestLabManyBonds(t *testing.T) {
	n, figures := newLabNode(t), map[string]any{}
	require.NoError(t, os.RemoveAll(labReport))
	n.giveEyes()
	n.oneFailover(figures)
	var took []time.Duration
	for i := range labPods {
		took = append(took, n.attach(fmt.Sprint("p", i)))
	}
	t.Cleanup(func() {
		for name := range n.pods {
			n.end(name)
		}
	})
	n.await("multibond_bond_links_up", "2")
	time.Sleep(carrierTime) // until then nothing is told
	slices.Sort(took)
	figures["add_extra_ms"] = milliseconds(took[len(took)/2])
	before := n.cpu()
	time.Sleep(10 * time.Second)
	figures["idle_processor_percent"] = (n.cpu() - before).Seconds() * 10

	heard, began := numberOf(n.page(), "multibond_watch_events_total"), time.Now()
	n.ip("", "link set pf1 carrier off")
	figures["failovers_in_metrics_ms"] = milliseconds(n.await("multibond_bond_failovers_total", "1"))
	eventually(t, func(c *assert.CollectT) { require.Equal(c, labPods+1, n.toldOf(reasonFailedOver)) })
	figures["failovers_in_events_ms"] = milliseconds(time.Since(began))
	n.await("multibond_bond_links_up", "1")
	figures["events_heard"] = numberOf(n.page(), "multibond_watch_events_total") - heard
	n.ip("", "link set pf1 carrier on")
	n.await("multibond_bond_links_up", "2")

	// All at once, and nobody listens.
	require.NoError(t, n.agent.cmd.Process.Signal(syscall.SIGSTOP))
	n.ip("", "link set pf2 carrier off")
	for name := range n.pods {
		eventually(t, func(c *assert.CollectT) { require.Equal(c, "bond0-1", activeLink(name)) })
	}
	require.NoError(t, n.agent.cmd.Process.Signal(syscall.SIGCONT))
	n.await("multibond_bond_failovers_total", "2")
	assert.Zero(t, numberOf(n.page(), "multibond_watch_resyncs_total"), "events were lost")
	assert.EqualValues(t, 1, numberOf(n.page(), "multibond_watching"))
	figures["resyncs"] = numberOf(n.page(), "multibond_watch_resyncs_total")
	n.ip("", "link set pf2 carrier on")
	n.await("multibond_bond_links_up", "2")
	figures["bonds"], figures["memory_mib"], figures["memory_peak_mib"] = labPods, n.agent.memory(t, "VmRSS")/1024, n.agent.memory(t, "VmHWM")/1024

	n.others()
	n.killed(figures)
	text, err := json.MarshalIndent(figures, "", "  ")
	require.NoError(t, err)
	t.Logf("%s", text)
	require.NoError(t, os.WriteFile(labReport, text, 0o644))
}

func milliseconds(d time.Duration) float64 { return math.Round(d.Seconds()*1e5) / 100 }

// activeLink returns the active link of a pod.
func activeLink(name string) string {
	out, _ := exec.Command("ip", "netns", "exec", name, "cat", "/sys/class/net/bond0/bonding/active_slave").Output()
	return strings.TrimSpace(string(out))
}

// cpu returns how long the agent has used a processor.
func (n *labNode) cpu() time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.agent.cmd.Process.Pid))
	require.NoError(n, err)
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	var user, system int
	fmt.Sscan(string(fields[11])+" "+string(fields[12]), &user, &system)
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}

// oneFailover measures how long it takes from the change of one bond to the metric and to
// the event, without the time in which monitoring notices a failed link.
func (n *labNode) oneFailover(figures map[string]any) {
	const name = "one"
	n.attach(name)
	n.await("multibond_bond_links_up", "2")
	time.Sleep(carrierTime)
	other, told := "bond0-2", n.toldOf(reasonFailedOver)
	if activeLink(name) == other {
		other = "bond0-1"
	}
	want := values(n.page(), "multibond_bond_failovers_total")
	want[name] = fmt.Sprint(numberIn(want[name]) + 1)
	began := time.Now()
	n.ip(name, "link set bond0 type bond active_slave "+other)
	eventually(n.T, func(c *assert.CollectT) { require.Equal(c, want, values(n.page(), "multibond_bond_failovers_total")) })
	figures["one_failover_in_metric_ms"] = milliseconds(time.Since(began))
	eventually(n.T, func(c *assert.CollectT) { require.Greater(c, n.toldOf(reasonFailedOver), told) })
	figures["one_failover_in_event_ms"] = milliseconds(time.Since(began))
	n.end(name)
}

func numberIn(s string) (n int) {
	fmt.Sscan(s, &n)
	return n
}

// others ends half of the pods, and begins as many.
func (n *labNode) others() {
	numbers := map[int]bool{}
	for i := range labPods / 2 {
		name := fmt.Sprint("p", 2*i)
		numbers[n.bonds[name].NSID] = true
		n.end(name)
		n.attach(fmt.Sprint("q", i))
	}
	again := 0
	for name, b := range n.bonds {
		if strings.HasPrefix(name, "q") && numbers[b.NSID] {
			again++
		}
	}
	assert.NotZero(n, again, "no number of a namespace was used again")
	n.await("multibond_bond_links_up", "2")
	for name, count := range values(n.page(), "multibond_bond_failovers_total") {
		assert.Equal(n, strings.HasPrefix(name, "q"), count == "0", "%s has %s failovers", name, count)
	}
}

// killed kills the agent while the bonds fail over.
func (n *labNode) killed(figures map[string]any) {
	n.ip("", "link set pf1 carrier off")
	n.agent.kill()
	began := time.Now()
	n.start()
	n.giveEyes()
	n.await("multibond_bond_links_up", "1")
	figures["right_after_restart_ms"] = milliseconds(time.Since(began))
	n.ip("", "link set pf1 carrier on")
	n.await("multibond_bond_links_up", "2")
}
