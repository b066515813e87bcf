package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/multibond/multibond/tests/cluster"
	"github.com/multibond/multibond/tests/lab"
)

// labPod is a pod that is attached in the lab to its default network, a bridge,
// and to VFs. Each VF is a network of its own, or all are links of one bond.
type labPod struct {
	Name string
	VFs  int
	Bond bool
}

// labTask tells the guest what to do.
type labTask struct {
	Host, Port string // of the API server
	Rounds     int
	Pods       []labPod
	UIDs       map[string]string // by the name of the pod
	BondCNI    bool              // the guest has bond-cni
	Other      bool              // the guest has another version of Multibond
}

const (
	guestDir       = "/lab/bench"
	guestTask      = guestDir + "/task.json"
	hostOfGuest    = "10.0.2.2" // the address of this machine's loopback in the guest
	serviceAccount = "/run/secrets/kubernetes.io/serviceaccount"
)

// labPods returns all pods to measure: bonds of 2 to 8 links, and 0 to 8 VFs.
func labPods() (pods []labPod) {
	for _, n := range []int{2, 4, 8} {
		pods = append(pods, labPod{Name: fmt.Sprint("bond", n), VFs: n, Bond: true})
	}
	for _, n := range []int{0, 1, 2, 4, 8} {
		pods = append(pods, labPod{Name: fmt.Sprint("vfs", n), VFs: n})
	}
	return pods
}

// vf returns the PCI address of VF number i in the guest. The PFs take turns.
func vf(i int) string { return fmt.Sprintf("0000:%02x:10.%d", 1+i%2, 2*(i/2)) }

// labNetworks returns the networks of the lab, by the names of their NADs: sriov0 to
// sriov7 are one VF each, bond2 to bond8 are bonds of 2 to 8 VFs. For bond-cni the
// same bonds are bond2-bond-cni to bond8-bond-cni.
func labNetworks() map[string]any {
	all := map[string]any{}
	for i := range 8 {
		all[fmt.Sprint("sriov", i)] = sriovNetwork(i)
	}
	for _, p := range labPods() {
		if p.Bond {
			all[p.Name] = bondNetwork(p.VFs)
			all[p.bondCNI()] = p.bondCNINetwork()
		}
	}
	return all
}

func sriovNetwork(i int) map[string]any {
	return map[string]any{"cniVersion": "0.3.1", "name": fmt.Sprint("sriov", i), "type": "sriov", "deviceID": vf(i)}
}

func bondNetwork(n int) map[string]any {
	var links []map[string]string
	for i := range n {
		links = append(links, map[string]string{"deviceID": vf(i)})
	}
	return map[string]any{
		"cniVersion": "1.0.0", "name": fmt.Sprint("bond", n), "type": "multibond", "mode": "active-backup", "miimon": 100, "links": links,
		"require": map[string]string{"distinctPF": "ignore"}, "ipam": bondIPAM,
	}
}

// bondCNINetwork returns the same bond for bond-cni. Its links are in the pod
// already.
func (p labPod) bondCNINetwork() map[string]any {
	var links []map[string]string
	for i := range p.VFs {
		links = append(links, map[string]string{"name": p.link(i)})
	}
	return map[string]any{
		"cniVersion": "0.3.1", "name": p.bondCNI(), "type": "bond", "mode": "active-backup", "miimon": "100", "failOverMac": 1,
		"linksInContainer": true, "links": links, "ipam": bondIPAM,
	}
}

var bondIPAM = map[string]any{"type": "host-local", "subnet": "10.56.217.0/24"}

// bridgeNetwork is the default network of the lab's pods.
var bridgeNetwork = map[string]any{"cniVersion": "0.3.1", "name": "cbr0", "type": "bridge", "bridge": "cni0", "isGateway": true,
	"ipam": map[string]any{"type": "host-local", "subnet": "10.244.1.0/24"}}

// inLab measures with real VFs.
func (r *Report) inLab(ctx context.Context, given programs) error {
	c, err := cluster.Start(ctx, cluster.Options{WithoutNode: true, Dir: clusterDir(), Log: os.Stdout})
	if err != nil {
		return err
	}
	defer c.Close()
	m := &machine{cluster: c}
	if err := m.prepareAPI(ctx); err != nil {
		return err
	}
	if err := m.createNADs(ctx, labNetworks()); err != nil {
		return err
	}
	task := labTask{Rounds: r.Rounds, Pods: labPods(), Host: hostOfGuest, BondCNI: given["bond"] != nil, Other: given["other"] != nil}
	_, task.Port = c.Address()
	networks := map[string][]string{}
	for _, p := range task.Pods {
		networks[p.Name] = p.networks()
		if p.Bond {
			networks[p.bondCNI()] = p.networksOfMultus()
		}
	}
	if task.UIDs, err = m.addPods(ctx, networks); err != nil {
		return err
	}
	files, err := m.guestFiles(ctx, task, given)
	if err != nil {
		return err
	}
	vm, err := lab.Boot(ctx, lab.Options{PFs: 2, VFs: 4, Disk: filepath.Join(lab.Root(), "build", "cluster", "node.img"), Files: files, Log: os.Stdout, Timeout: 2 * time.Hour})
	if err != nil {
		return err
	}
	defer vm.Close()
	release, err := vm.Run(ctx, lab.Cmd{Args: []string{"uname", "-r"}, Timeout: time.Minute})
	if err != nil {
		return err
	}
	r.LabKernel = strings.TrimSpace(string(release.Stdout))
	out, err := vm.Run(ctx, lab.Cmd{Args: []string{binDir + "/bench", "-guest"}, Stderr: os.Stdout, Timeout: 2 * time.Hour})
	if err == nil && out.Exit != 0 {
		err = fmt.Errorf("the benchmark exited with status %d in the guest", out.Exit)
	}
	if err == nil {
		err = json.Unmarshal(out.Stdout, &r.Lab)
	}
	r.growthOfLinks()
	if !task.BondCNI {
		r.LeftOut = "bonds attached by Multus and bond-cni: -bond-cni (make bench BONDCNI=...) names no program"
		fmt.Println("left out:", r.LeftOut)
	}
	return err
}

// growthOfLinks adds what was measured with bonds, by the number of links.
func (r *Report) growthOfLinks() {
	g := Growth{Of: "links of a bond, with real VFs"}
	for _, p := range r.Lab {
		if p.Bond {
			g.X, g.ADD, g.DEL = append(g.X, float64(p.VFs)), append(g.ADD, p.ADD["multibond"].Median), append(g.DEL, p.DEL["multibond"].Median)
		}
	}
	if len(g.X) > 1 {
		g.fit()
		r.Growth = append(r.Growth, g)
		fmt.Println(g)
	}
}

// networks returns the networks that the pod's annotation names.
func (p labPod) networks() []string {
	if p.Bond {
		return []string{p.Name + "@bond0"}
	}
	return sriovNetworks(p.VFs)
}

// networksOfMultus returns the networks that a pod with the same bond has with
// Multus: each VF, then the bond over them.
func (p labPod) networksOfMultus() []string {
	return append(sriovNetworks(p.VFs), p.bondCNI()+"@bond0")
}

func sriovNetworks(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprint("sriov", i))
	}
	return names
}

// bondCNI returns the name of the pod, and of the network, if Multus attaches the
// bond.
func (p labPod) bondCNI() string { return p.Name + "-bond-cni" }

// guestFiles writes and returns the files that the guest has below /lab.
func (m *machine) guestFiles(ctx context.Context, task labTask, given programs) (map[string]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	token, err := m.token(ctx)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(stateDir, "guest")
	files := map[string]string{"bin/bench": self}
	own := []string{"multibond", "multibond-agent", "multus", "multus-daemon", "multus-shim"}
	for _, program := range slices.AppendSeq(own, maps.Keys(given)) {
		files["bin/"+program] = filepath.Join(binDir, program)
	}
	text, _ := json.Marshal(task)
	errs := []error{os.MkdirAll(dir, 0o755)}
	for name, content := range map[string][]byte{"task.json": text, "kubeconfig": []byte(m.cluster.NodeKubeconfig()), "token": []byte(token), "ca.crt": m.cluster.CA()} {
		file := filepath.Join(dir, name)
		errs = append(errs, os.WriteFile(file, content, 0o600))
		files["bench/"+name] = file
	}
	return files, errors.Join(errs...)
}
