//go:build lab

package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The guest has the test binary but not this folder.
//
//go:embed testdata/lab
var labScripts embed.FS

// plugin is the binary that a runtime would execute.
const plugin = "/opt/cni/bin/multibond"

// TestLab runs the scripts that attach real VFs through the real sriov-cni. It checks
// that each script leaves the guest as it found it.
func TestLab(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, labScripts))
	t.Setenv("MULTIBOND_BINARY", plugin)
	prepareVFs(t)
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join(dir, "testdata/lab"),
		Setup: func(e *testscript.Env) error {
			require.NoError(t, os.RemoveAll("/var/lib/cni/networks"))                          // host-local begins with its first address
			require.NoError(t, exec.Command("udevadm", "control", "--start-exec-queue").Run()) // a failed script may have stopped it
			before := stateOfNode()
			e.Defer(func() {
				removeAttachments(t)
				assert.Empty(t, cmp.Diff(before, stateOfNode()), "%s left the node changed (-before +after)", filepath.Base(e.WorkDir))
			})
			for key, value := range map[string]string{
				"CNI_PATH": "/opt/cni/bin", "CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/p1", "CNI_IFNAME": "bond0",
				"STATE": "/var/lib/cni/multibond", "PATH": os.Getenv("PATH"),
			} {
				e.Setenv(key, value)
			}
			e.Values[nodeKey{}] = &crNode{sandboxes: map[string]*crSandbox{}}
			return nil
		},
		Cmds: labCommands,
	})
}

// labCommands are those of the scripts that need a real kernel.
var labCommands = map[string]func(*testscript.TestScript, bool, []string){
	"cni": cni, "pod": pod, "remember": remember, "same": same, "await": await, "runtime": runtimeVerb, "agent": agent, "reboot": reboot,
}

// prepareVFs changes two of the four VFs of each PF. VF 2 has been up once, so igb on
// kernel 6.1 knows its MAC. VF 3 has its MAC from the PF, so it refuses any other
// unless it is trusted.
func prepareVFs(t *testing.T) {
	const script = `for pf in enp1s0 enp2s0; do
		ip link set ${pf}v2 up; ip link set ${pf}v2 down
		ip link set $pf vf 3 mac $(cat /sys/class/net/${pf}v3/address)
	done`
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// removeAttachments deletes what a failed script left, so that the other scripts do
// not fail too.
func removeAttachments(t *testing.T) {
	records, _ := filepath.Glob("/var/lib/cni/multibond/*.json")
	for _, file := range records {
		id, ifName, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".json"), ":")
		assert.Fail(t, fmt.Sprintf("a script left the attachment %s of container %s", ifName, id))
		cmd := exec.Command(plugin)
		cmd.Stdin = strings.NewReader(`{"cniVersion": "1.0.0", "name": "net1"}`)
		cmd.Env = append(os.Environ(), "CNI_COMMAND=DEL", "CNI_CONTAINERID="+id, "CNI_IFNAME="+ifName, "CNI_PATH=/opt/cni/bin")
		out, err := cmd.CombinedOutput()
		assert.NoError(t, err, "removing it: %s", out)
	}
	aside, _ := filepath.Glob("/var/lib/cni/multibond/aside/*")
	for _, file := range aside {
		assert.Fail(t, "a script left "+file)
	}
	if len(records) > 0 || len(aside) > 0 {
		assert.NoError(t, os.RemoveAll("/var/lib/cni/multibond")) // what DEL has not undone by now
	}
}

// pod creates the network namespaces that it is given, until the script ends:
// "pod p1 p2".
func pod(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		ts.Check(ts.Exec("ip", "netns", "add", name))
		ts.Defer(func() { exec.Command("ip", "netns", "del", name).Run() })
	}
}

// await executes a program until a pattern matches what it prints: "await PATTERN
// PROGRAM ARGS...". What the kernel does in its own time is awaited so: a carrier, an
// active link, the end of a namespace. The limit is no measure of speed.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: await PATTERN PROGRAM ARGS...")
	}
	pattern := regexp.MustCompile("(?m)" + args[0])
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		cmd := exec.Command(args[1], args[2:]...)
		cmd.Dir = ts.MkAbs(".")
		cmd.Env = os.Environ()
		for _, key := range []string{"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"} {
			cmd.Env = append(cmd.Env, key+"="+ts.Getenv(key))
		}
		out, err := cmd.CombinedOutput()
		if pattern.Match(out) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not print %s: %v\n%s", strings.Join(args[1:], " "), args[0], err, out)
		}
	}
}

// remember stores the state of the node under a name: "remember before".
func remember(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".state"), []byte(stateOfNode()), 0o600))
}

// same compares the state of the node with a stored one: "same before".
func same(ts *testscript.TestScript, neg bool, args []string) {
	was := ts.ReadFile(args[0] + ".state")
	if diff := cmp.Diff(was, stateOfNode()); diff != "" != neg {
		ts.Fatalf("the node is not as %s (-was +is):\n%s", args[0], diff)
	}
}

// stateOfNode describes everything that an attachment can change, as seen by programs
// that are not ours: each link of the host and of every named namespace with its
// addresses, what the PFs store for each VF, and the files of CNI. What udev has begun
// is part of it.
func stateOfNode() string {
	exec.Command("udevadm", "settle").Run()
	lines := linksOf("host")
	spaces, _ := filepath.Glob("/run/netns/*")
	for _, path := range spaces {
		name := filepath.Base(path)
		lines = append(lines, linksOf("pod "+name, "-n", name)...)
	}
	filepath.WalkDir("/var/lib/cni", func(path string, d os.DirEntry, err error) error {
		// The locks of IPAM and sriov-cni and IPAM's record of the last address stay by design.
		if err == nil && !d.IsDir() && d.Name() != "lock" && filepath.Ext(path) != ".lock" && d.Name() != "ended" && !strings.HasPrefix(d.Name(), "last_reserved_ip") {
			lines = append(lines, "file "+path)
		}
		return nil
	})
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

// flagsSet returns the flags of a link that somebody sets, by iproute2's names. In a
// guest with networkd, UP is not one: networkd sets up every link of the host, in its
// own time.
func flagsSet() []string {
	flags := []string{"UP", "PROMISC", "ALLMULTI", "NOARP", "MULTICAST"}
	if line, _ := os.ReadFile("/proc/cmdline"); bytes.Contains(line, []byte("lab_networkd")) {
		return flags[1:]
	}
	return flags
}

func linksOf(where string, ipArgs ...string) []string {
	out, err := exec.Command("ip", append(ipArgs, "-j", "-d", "addr")...).Output()
	if err != nil {
		return []string{where + ": " + err.Error()}
	}
	var links []struct {
		Name     string            `json:"ifname"`
		Flags    []string          `json:"flags"`
		MTU      int               `json:"mtu"`
		Master   string            `json:"master"`
		Address  string            `json:"address"`
		Device   string            `json:"parentdev"`
		Alias    string            `json:"ifalias"`
		Queue    int               `json:"txqlen"`
		Group    string            `json:"group"`
		GSOSize  int               `json:"gso_max_size"`
		GSOSegs  int               `json:"gso_max_segs"`
		AltNames []string          `json:"altnames"`
		VFs      []json.RawMessage `json:"vfinfo_list"`
		LinkInfo struct {
			Kind string `json:"info_kind"`
		} `json:"linkinfo"`
		Addrs []struct {
			Local string `json:"local"`
		} `json:"addr_info"`
	}
	if err := json.Unmarshal(out, &links); err != nil {
		return []string{where + ": " + err.Error()}
	}
	var lines []string
	set := flagsSet()
	for _, l := range links {
		var addrs []string
		for _, a := range l.Addrs {
			// The kernel adds link-local addresses when the link gets a carrier.
			if !strings.HasPrefix(a.Local, "fe80:") {
				addrs = append(addrs, a.Local)
			}
		}
		// Whether a link has a carrier, or is in a bond, is not said by its flags here.
		flags := slices.DeleteFunc(l.Flags, func(f string) bool { return !slices.Contains(set, f) })
		lines = append(lines, fmt.Sprintf("%s %s %s mac=%s mtu=%d flags=%v alias=%q queue=%d group=%s gso=%d/%d also=%q master=%q kind=%q addrs=%v",
			where, l.Name, l.Device, l.Address, l.MTU, flags, l.Alias, l.Queue, l.Group, l.GSOSize, l.GSOSegs, l.AltNames, l.Master, l.LinkInfo.Kind, addrs))
		for _, vf := range l.VFs {
			lines = append(lines, fmt.Sprintf("%s %s vf %s", where, l.Name, vf))
		}
	}
	return lines
}
