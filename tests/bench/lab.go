package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/multibond/multibond/tests/cluster"
	"github.com/multibond/multibond/tests/lab"
)

// labPod is a pod that is attached in the lab to its default network, a bridge,
// and to VFs. Each VF is a network of its own, or all are links of one bond.
type labPod struct {
	Name, UID string
	VFs       int
	Bond      bool
}

// labTask tells the guest what to do.
type labTask struct {
	Host, Port string // of the API server
	Rounds     int
	Pods       []labPod
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
// sriov7 are one VF each, bond2 to bond8 are bonds of 2 to 8 VFs.
func labNetworks() map[string]any {
	all := map[string]any{}
	for i := range 8 {
		all[fmt.Sprint("sriov", i)] = sriovNetwork(i)
	}
	for _, p := range labPods() {
		if p.Bond {
			all[p.Name] = bondNetwork(p.VFs)
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

var bondIPAM = map[string]any{"type": "host-local", "subnet": "10.56.217.0/24"}

// bridgeNetwork is the default network of the lab's pods.
var bridgeNetwork = map[string]any{"cniVersion": "0.3.1", "name": "cbr0", "type": "bridge", "bridge": "cni0", "isGateway": true,
	"ipam": map[string]any{"type": "host-local", "subnet": "10.244.1.0/24"}}

// inLab measures with real VFs.
func (r *Report) inLab(ctx context.Context, rounds int) error {
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
	task := labTask{Rounds: rounds, Pods: labPods(), Host: hostOfGuest}
	_, task.Port = c.Address()
	networks := map[string][]string{}
	for _, p := range task.Pods {
		networks[p.Name] = p.networks()
	}
	uids, err := m.addPods(ctx, networks)
	if err != nil {
		return err
	}
	for i, p := range task.Pods {
		task.Pods[i].UID = uids[p.Name]
	}
	files, err := m.guestFiles(ctx, task)
	if err != nil {
		return err
	}
	vm, err := lab.Boot(ctx, lab.Options{PFs: 2, VFs: 4, Disk: filepath.Join(lab.Root(), "build", "cluster", "node.img"), Files: files, Log: os.Stdout, Timeout: time.Hour})
	if err != nil {
		return err
	}
	defer vm.Close()
	release, err := vm.Run(ctx, lab.Cmd{Args: []string{"uname", "-r"}, Timeout: time.Minute})
	if err != nil {
		return err
	}
	r.LabKernel = strings.TrimSpace(string(release.Stdout))
	out, err := vm.Run(ctx, lab.Cmd{Args: []string{binDir + "/bench", "-guest"}, Stderr: os.Stdout, Timeout: time.Hour})
	if err == nil && out.Exit != 0 {
		err = fmt.Errorf("the benchmark exited with status %d in the guest", out.Exit)
	}
	if err == nil {
		err = json.Unmarshal(out.Stdout, &r.Lab)
	}
	r.growthOfLinks()
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
func (p labPod) networks() (names []string) {
	if p.Bond {
		return []string{p.Name}
	}
	for i := range p.VFs {
		names = append(names, fmt.Sprint("sriov", i))
	}
	return names
}

// guestFiles writes and returns the files that the guest has below /lab.
func (m *machine) guestFiles(ctx context.Context, task labTask) (map[string]string, error) {
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
	for _, program := range []string{"multibond", "multibond-agent", "multus", "multus-daemon", "multus-shim"} {
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

// uplink connects the guest to the API server, and puts Multus's credentials where
// a container has them.
const uplink = `
echo "root:x:0:0:root:/root:/bin/sh" >/etc/passwd
for dev in /sys/class/net/eth*; do
	case $(readlink $dev/device/driver) in */virtio_net) uplink=${dev##*/} ;; esac
done
ip link set $uplink up
ip addr add 10.0.2.15/24 dev $uplink
ip route add default via 10.0.2.2
mkdir -p /etc/cni/net.d /var/lib/cni ` + serviceAccount + `
cp ` + guestDir + `/token ` + guestDir + `/ca.crt ` + serviceAccount

// inGuest is the part of inLab that runs in the guest. It prints its report.
func inGuest(ctx context.Context) error {
	text, err := os.ReadFile(guestTask)
	if err != nil {
		return err
	}
	var task labTask
	if err := json.Unmarshal(text, &task); err != nil {
		return err
	}
	if _, err := shell(ctx, uplink); err != nil {
		return err
	}
	network, _ := json.Marshal(map[string]any{"cniVersion": "0.3.1", "name": "cbr0", "plugins": []any{bridgeNetwork}})
	if err := os.WriteFile(filepath.Join(confDir, "10-cbr0.conflist"), network, 0o644); err != nil {
		return err
	}
	m := &machine{}
	defer m.close()
	if err := m.startDaemons(guestDir+"/kubeconfig", []string{"KUBERNETES_SERVICE_HOST=" + task.Host, "KUBERNETES_SERVICE_PORT=" + task.Port}); err != nil {
		return errors.Join(err, m.logs())
	}
	all := contenders(guestDir+"/kubeconfig", bridgeNetwork)
	var peers []LabPeer
	for _, p := range task.Pods {
		these := all
		if p.Bond {
			these = all[:1]
		}
		t, err := rounds(task.Rounds, func(t times, round int) error {
			return t.round(ctx, these, p.floor, round, func() (sandbox, error) { return p.sandbox(ctx) })
		})
		if err != nil {
			return errors.Join(err, m.logs())
		}
		one := LabPeer{Bond: p.Bond, VFs: p.VFs, ADD: t.stats("ADD"), DEL: t.stats("DEL"), Again: t.stats("DEL again"), Ratios: t.ratios()}
		fmt.Fprintln(os.Stderr, one)
		if p.Bond {
			if one.Timeline, err = all[0].timeline(ctx, func() (sandbox, error) { return p.sandbox(ctx) }); err != nil {
				return errors.Join(err, m.logs())
			}
			printTimeline(os.Stderr, one.Timeline)
		}
		peers = append(peers, one)
	}
	text, _ = json.Marshal(peers)
	_, err = os.Stdout.Write(text)
	return err
}

// sandbox returns a sandbox with a new namespace, as a runtime does. In a namespace
// that is used again, sriov-cni 2.1.0 takes another interface for its VF.
func (p labPod) sandbox(ctx context.Context) (sandbox, error) {
	_, err := shell(ctx, "ip netns del bench 2>/dev/null || true; ip netns add bench")
	return sandbox{"bench-" + p.Name, "/run/netns/bench", p.Name, p.UID}, err
}

// LabPeer compares the contenders for a pod with VFs VFs.
type LabPeer struct {
	Bond  bool             `json:"bond"` // of all VFs; otherwise each VF is a network of its own
	VFs   int              `json:"vfs"`
	ADD   map[string]Stats `json:"add"`
	DEL   map[string]Stats `json:"del"`
	Again map[string]Stats `json:"delAgain"`

	Ratios   Ratios `json:"ratios"`
	Timeline []Bar  `json:"timeline,omitempty"` // of one ADD of a bond
}

// String is a line of the table.
func (p LabPeer) String() string {
	what := "VFs"
	if p.Bond {
		what = "VFs in a bond"
	}
	of := []string{"floor"}
	if !p.Bond {
		of = append(of, "multus thin", "multus thick")
	}
	return fmt.Sprintf("lab, %d %s: ADD %.0f ms, %s; DEL %.0f ms, %s; a further DEL %s of the floor's first", p.VFs, what,
		p.ADD["multibond"].Median, p.Ratios.of("ADD", of...), p.DEL["multibond"].Median, p.Ratios.of("DEL", of...), p.Ratios["DEL again"]["floor"])
}

// shell runs a script and returns its output.
func shell(ctx context.Context, script string) (string, error) {
	out, err := command(ctx, "sh", "-euc", script).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return strings.TrimSpace(string(out)), err
}
