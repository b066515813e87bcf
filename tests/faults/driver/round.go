package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/strictjson"
)

const (
	// deadline is of one call of the plugin; it is beyond all of the plugin's own.
	deadline = 4 * time.Minute
	// patience is what the kernel and the plugin get to put all as it was. The
	// plugin gives up what has been lost for two minutes, which must not hide it.
	patience = time.Minute
)

type values = map[string]any

const bondName = "bond0"

// bondConfig is a bond of two VFs by sriov-cni.
func bondConfig() []byte {
	return strictjson.Encode(values{
		"cniVersion": "1.1.0", "name": "net", "type": "multibond",
		"links":    []values{{"deviceID": "0000:01:10.0"}, {"deviceID": "0000:02:10.0"}},
		"delegate": values{"type": "sriov", "vlan": 100, "spoofchk": "off"},
		"ipam":     values{"type": "host-local", "subnet": "10.56.217.0/24"},
	})
}

// bondedSandboxes are the first ones, which have bonds. The others have an interface of each
// link.
const bondedSandboxes = 3

// pooledSandbox has its links on NICs of the host.
const pooledSandbox = 4

// config is what the runtime says of a sandbox, and the interface that it asks
// for. 0 has a bond. 1 is a pod with a default network, and the same bond by the
// agent. 2 has a bond of two other VFs, by their names on the host. 3 has an interface
// of each of these VFs, by sriov-cni. 4 has one on each of two NICs, by macvlan and by
// ipvlan.
func config(sandbox int, more values) (text []byte, ifName string) {
	all := values{}
	ifName = bondName
	switch sandbox {
	case 0:
		_ = json.Unmarshal(bondConfig(), &all)
	case 1:
		ifName = "eth0"
		all = values{"cniVersion": "1.1.0", "name": "net", "type": "multibond", "agent": agentSocket, "defaultNetwork": values{"confDir": confDir}}
	case 2:
		all = values{"cniVersion": "1.1.0", "name": "net", "type": "multibond", "links": []values{{"name": "enp1s0v1"}, {"name": "enp2s0v1"}},
			"ipam": values{"type": "host-local", "subnet": "10.56.217.0/24"}}
	case 3:
		all = each(values{"deviceID": "0000:01:10.2"}, values{"deviceID": "0000:02:10.2"})
	case pooledSandbox:
		pool := values{"names": []string{"enp*s0"}}
		all = each(values{"pool": pool, "config": values{"type": "macvlan"}}, values{"pool": pool, "config": values{"type": "ipvlan"}})
	}
	maps.Copy(all, more)
	return strictjson.Encode(all), ifName
}

// each has an interface of each link, with IPv4 and IPv6 addresses in one subnet and routes
// over all of them.
func each(links ...values) values {
	return values{
		"cniVersion": "1.1.0", "name": "net", "type": "multibond", "attach": netconf.AttachEach, "links": links,
		"ipam": values{
			"type": "host-local", "routes": []values{{"dst": "10.80.0.0/16"}, {"dst": "fd00:80::/64"}},
			"ranges": [][]values{{{"subnet": "10.56.217.0/24"}}, {{"subnet": "fd00:57::/64"}}},
		},
	}
}

// carryOut does the operations, then has everything undone, and returns what is
// not as before, "" if all is.
func (c *campaign) carryOut(operations []Operation, count bool) string {
	var group sync.WaitGroup
	var mutex sync.Mutex
	var wrong []string
	anew, rebooted := false, false
	c.bonds = bonds{}
	c.keep.forget()
	for _, o := range operations {
		if o.Beside {
			time.Sleep(time.Duration(o.Delay) * time.Millisecond)
		} else {
			group.Wait()
		}
		if count {
			c.report.Operations[o.What]++
			c.report.Disturbed[o.Disturb]++
		}
		rebooted = rebooted || o.What == "reboot"
		anew = anew || rebooted || slices.Contains(remakes, o.What)
		if verbose {
			fmt.Fprintf(os.Stderr, "faults: %s\n", o)
		}
		mutex.Lock()
		c.bonds.begins(o)
		mutex.Unlock()
		group.Go(func() {
			place, well, err := c.do(o)
			mutex.Lock()
			defer mutex.Unlock()
			c.bonds.ended(o, well)
			if err != nil {
				wrong = append(wrong, fmt.Sprintf("%s: %v", o, err))
			}
			if place != "" && count {
				c.report.Kills[place]++
			}
			if well && count {
				c.report.Succeeded[fmt.Sprintf("%s s%d", o.What, o.Sandbox)]++
			}
		})
	}
	group.Wait()
	wrong = append(wrong, c.awaitWhole(count)...)
	wrong = append(wrong, c.undo()...)
	wrong = append(wrong, c.keep.settle()...)
	if err := plugAll(); err != nil {
		wrong = append(wrong, err.Error())
	}
	if rebooted {
		// sriov-cni keeps its files over a reboot, and is not called for a VF of
		// another boot, which may be anybody's by now.
		_, _ = shell("rm -f /var/lib/cni/sriov/* /var/lib/cni/sriov/pci/*")
	}
	if anew {
		_, _ = shell(tellPFs)
	}
	if d := difference(c.before, anew); d != "" {
		wrong = append(wrong, d)
	}
	if anew {
		c.before, _ = state()
	}
	return strings.Join(wrong, "\n")
}

// do is one operation. It returns where the plugin was killed, if it was, and
// whether it did what it was called for. The error is of something that must never
// happen, whatever goes wrong.
func (c *campaign) do(o Operation) (place string, well bool, err error) {
	switch {
	case o.Disturb == keepKilled || o.What == keepEnds:
		c.keep.killLater(o, func() bool { return true })
	case o.Disturb == keepKilledAtWork:
		c.keep.killLater(o, isAtWork)
	}
	switch {
	case o.What == killedDEL:
		return c.repeat(o)
	case slices.Contains([]string{"ADD", "DEL", "CHECK", "GC"}, o.What):
		return c.call(o)
	}
	return "", false, c.change(o)
}

// repeat calls DEL three times, of which the first two are killed at the deadline. It
// returns where the first one was killed.
func (c *campaign) repeat(o Operation) (place string, well bool, err error) {
	o.What = "DEL"
	if place, _, err = c.call(o); err != nil {
		return place, false, err
	}
	if _, _, err = c.call(o); err != nil {
		return place, false, err
	}
	_, well, err = c.call(Operation{What: "DEL", Sandbox: o.Sandbox})
	return place, well, err
}

// change changes the world under the plugin.
func (c *campaign) change(o Operation) error {
	ns := fmt.Sprint("s", o.Sandbox)
	inPod := func(format string, args ...any) {
		_, _ = shell("ip -n " + ns + " " + fmt.Sprintf(format, args...)) // it may not be there
	}
	switch o.What {
	case "namespace deleted":
		_, _ = shell("ip netns delete " + ns)
	case "bond deleted in the pod":
		inPod("link delete bond0")
	case "bond renamed in the pod":
		inPod("link set bond0 name other0")
	case "link renamed in the pod":
		inPod("link set bond0-1 down")
		inPod("link set bond0-1 name other1")
	case "link set down in the pod":
		inPod("link set bond0-2 down")
	case "link deleted in the pod":
		inPod("link delete bond0-1") // which is refused for a VF
	case "rule deleted in the pod":
		inPod("rule delete pref 30000")
	case "Record cut short":
		files, _ := filepath.Glob(stateDir + "/*.json")
		if len(files) > 0 {
			file := files[o.Sandbox%len(files)]
			if st, err := os.Stat(file); err == nil {
				_ = os.Truncate(file, st.Size()/2)
			}
		}
	case vfsRemade:
		_, err := shell(remakeVFs)
		return err
	case vfsOfPFRemade:
		_, err := shell(remakeVFsOf, fmt.Sprint(1+o.Link))
		return err
	case vfRebound:
		_, err := shell(rebindVF, o.vf())
		return err
	case vfReboundLate:
		_, err := shell(rebindVFLate, o.vf(), fmt.Sprint(o.Late))
		return err
	case pfRebound:
		_, err := shell(rebindPF)
		return err
	case cablePulled:
		return pullCable(o.Link)
	case cablePlugged:
		return plugCable(o.Link)
	case keepEnds:
		time.Sleep(time.Duration(o.At) * time.Millisecond)
	case "reboot":
		c.keep.end()
		_, err := shell(`ip -all netns delete; sleep 0.5; cat /proc/sys/kernel/random/uuid >` + fakeBoot + remakeVFs)
		return errors.Join(err, c.keep.start())
	}
	return nil
}

// told are the orders of the disturbances that wrappers make.
var told = map[string]string{
	"delegate refuses": "refuse", "delegate fails after its work": "fail", "delegate dies after its work": "die",
	"delegate prints garbage": "garbage", "delegate hangs, and the plugin is killed": "hang", "delegate leaves a VLAN": "vlan",
	"IPAM fails after its work": "fail", "IPAM hangs, and the plugin is killed": "hang",
	"delegate killed after a time": "killed", "IPAM killed after a time": "killed",
}

// wrapped are the plugins before which wrappers stand.
var wrapped = []string{"sriov", "macvlan", "ipvlan", "host-local"}

// misbehaving is the plugin that misbehaves in an operation.
func (o Operation) misbehaving() string {
	switch {
	case strings.HasPrefix(o.Disturb, "IPAM"):
		return "host-local"
	case o.Sandbox == pooledSandbox:
		return []string{"macvlan", "ipvlan"}[o.Link]
	}
	return "sriov"
}

// call calls the plugin, disturbed as o says.
func (c *campaign) call(o Operation) (place string, well bool, err error) {
	ns := fmt.Sprint("s", o.Sandbox)
	if o.What == "ADD" {
		_, _ = shell("ip netns add " + ns) // it may be there
	}
	if how := told[o.Disturb]; how != "" {
		file := o.misbehaving() + "-" + o.What
		if how == "killed" {
			how = fmt.Sprintf("killed %.3f", float64(o.At)/1000)
		}
		if err := os.WriteFile(filepath.Join(orders, file), []byte(how), 0o644); err != nil {
			return "", false, err
		}
		defer os.Remove(filepath.Join(orders, file))
	}
	switch o.Disturb {
	case "disk full":
		_, _ = shell("dd if=/dev/zero of=" + filler + " bs=64k 2>/dev/null")
		defer os.Remove(filler)
	case "state directory read-only":
		// Where a call beside it is writing, it can't be; then this one is undisturbed.
		if _, busy := shell("mount -o remount,ro " + stateDir); busy == nil {
			defer func() {
				_, again := shell("mount -o remount,rw " + stateDir)
				err = errors.Join(err, again)
			}()
		}
	}
	var more values
	if o.What == "GC" { // it has all but this one
		valid := []values{}
		for i := range sandboxes {
			if i != o.Sandbox {
				_, ifName := config(i, nil)
				valid = append(valid, values{"containerID": fmt.Sprint("s", i), "ifname": ifName})
			}
		}
		more = values{"cni.dev/valid-attachments": valid}
	}
	return c.execute(o, more)
}

// command is a call of the plugin, with more in its configuration than the sandbox
// has, and its output.
func command(o Operation, more values) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	ns := fmt.Sprint("s", o.Sandbox)
	stdin, ifName := config(o.Sandbox, more)
	cmd := exec.Command(binDir + "/multibond")
	cmd.Env = append(os.Environ(), "CNI_COMMAND="+o.What, "CNI_CONTAINERID="+ns, "CNI_NETNS=/run/netns/"+ns, "CNI_IFNAME="+ifName, "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=p;K8S_POD_UID=u",
		"CNI_PATH="+wrapDir+":"+binDir)
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &said
	cmd.WaitDelay = time.Second
	return cmd, &out, &said
}

func (c *campaign) execute(o Operation, more values) (place string, well bool, err error) {
	cmd, out, said := command(o, more)
	if o.Disturb == "plugin killed after system calls" {
		killed, err := killAfter(cmd, o.At)
		if killed {
			return whereKilled(o), false, err
		}
		return "", false, err
	}
	if err := cmd.Start(); err != nil {
		return "", false, err
	}
	limit := deadline
	kill := o.Disturb == "plugin killed after a time" || strings.HasSuffix(o.Disturb, " hangs, and the plugin is killed")
	if kill {
		limit = time.Duration(o.At) * time.Millisecond
	}
	if o.Disturb == "agent killed after a time" {
		time.AfterFunc(time.Duration(o.At)*time.Millisecond, c.agent.kill)
	}
	timer := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
	err = cmd.Wait()
	inTime := timer.Stop()
	switch {
	case !inTime && !kill:
		return "", false, fmt.Errorf("it did not end within %s", deadline)
	case !inTime:
		return whereKilled(o), false, nil
	}
	return "", err == nil, insane(err, out.String(), said.String())
}

// insane finds what no plugin may do: panic, end by a signal, or fail without
// saying why as CNI wants it said.
func insane(err error, out, said string) error {
	if strings.Contains(said, "panic:") || strings.Contains(said, "goroutine ") {
		return fmt.Errorf("it panicked: %s", said)
	}
	var exit *exec.ExitError
	if err == nil || !errors.As(err, &exit) {
		return nil // of which the second is its output, held by what it left behind
	}
	if status, is := exit.Sys().(syscall.WaitStatus); is && status.Signaled() {
		return fmt.Errorf("it ended by %s", status.Signal())
	}
	var answer struct {
		Code int
		Msg  string
	}
	if json.Unmarshal([]byte(out), &answer) != nil || answer.Code == 0 || answer.Msg == "" {
		return fmt.Errorf("it failed without a CNI error: %q %q", out, said)
	}
	return nil
}

// whereKilled says how far the plugin's Record had come.
func whereKilled(o Operation) string {
	var rec struct {
		Started, Restored []string
		Attached          map[string]any
		BondIndex         int
		IPAMAsked         bool
		Interfaces        map[string]any
		Result            any
	}
	what := o.What
	if o.Sandbox >= bondedSandboxes {
		what += " without a bond"
	}
	text, err := os.ReadFile(fmt.Sprintf("%s/s%d:%s.json", stateDir, o.Sandbox, bondName))
	if err != nil || json.Unmarshal(text, &rec) != nil {
		return what + ": no Record"
	}
	switch {
	case o.What != "ADD":
		return fmt.Sprintf("%s: %d links restored", what, len(rec.Restored))
	case rec.Result != nil:
		return what + ": complete"
	case rec.IPAMAsked || len(rec.Interfaces) > 0:
		return what + ": IPAM asked"
	}
	return fmt.Sprintf("%s: %d links begun, %d attached", what, len(rec.Started), len(rec.Attached))
}

// undo has all sandboxes end as a runtime ends them, beside each other: DEL, again
// if it failed, then the namespace. Then comes GC with nobody left. It returns what
// went wrong.
func (c *campaign) undo() (wrong []string) {
	var group sync.WaitGroup
	var took [sandboxes]time.Duration
	var left [sandboxes][]string
	for i := range sandboxes {
		group.Go(func() {
			began := time.Now()
			left[i] = end(i)
			took[i] = time.Since(began)
		})
	}
	group.Wait()
	for i := range sandboxes {
		wrong = append(wrong, left[i]...)
		c.report.SlowestDEL = max(c.report.SlowestDEL, float64(took[i].Milliseconds()))
	}
	cmd, out, said := command(Operation{What: "GC"}, values{"cni.dev/valid-attachments": []any{}})
	if err := cmd.Run(); err != nil {
		wrong = append(wrong, fmt.Sprintf("GC: %s%s", out, said))
	}
	return wrong
}

// end ends one sandbox.
func end(sandbox int) (wrong []string) {
	answer := ""
	for limit := time.Now().Add(patience); ; time.Sleep(300 * time.Millisecond) {
		cmd, out, said := command(Operation{What: "DEL", Sandbox: sandbox}, nil)
		err := cmd.Run()
		if answer = ""; err == nil {
			break
		}
		answer = fmt.Sprintf("DEL s%d: %s%s", sandbox, out, said)
		if time.Now().After(limit) {
			break
		}
	}
	if answer != "" {
		wrong = append(wrong, answer)
	}
	ns := fmt.Sprint("s", sandbox)
	if left := leftInside(ns); left != "" {
		wrong = append(wrong, left)
	}
	_, _ = shell("ip netns delete " + ns)
	return wrong
}

// leftInside says what a namespace still has beside its loopback and the kernel's own
// rules, which its end would hide.
func leftInside(ns string) string {
	out, err := shell("ip -n " + ns + " -o link show; ip -n " + ns + " rule; ip -n " + ns + " -6 rule")
	if err != nil {
		return "" // it was deleted
	}
	var left []string
	for line := range strings.Lines(out) {
		if !strings.Contains(line, " lo: ") && !ownRule.MatchString(line) {
			left = append(left, fmt.Sprintf("%s still has %s", ns, strings.TrimSpace(line)))
		}
	}
	return strings.Join(left, "\n")
}

// ownRule matches a rule that the kernel has made.
var ownRule = regexp.MustCompile(`from all lookup (local|main|default)\s*$`)
