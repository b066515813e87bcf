package kernel

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/tests/lab"
)

// node is the guest, and a pod in it whose bond has its first VF on enp1s0 and its second
// one on enp2s0. What the pod asks for, 10.57.0.1, is on enp2s0.
type node struct {
	t  *testing.T
	vm *lab.VM
}

const silentBond = `{"cniVersion": "1.0.0", "name": "silent", "type": "multibond", "miimon": 100,
	"links": [{"deviceID": "0000:01:10.0"}, {"deviceID": "0000:02:10.0"}],
	"ipam": {"type": "host-local", "subnet": "10.57.0.0/24"}}`

// sh runs a script in the guest.
func (n node) sh(script string) string {
	n.t.Helper()
	out, err := n.vm.Run(n.t.Context(), lab.Cmd{Args: []string{"sh", "-c", script}})
	require.NoError(n.t, err)
	require.Zero(n.t, out.Exit, "%s\n%s%s", script, out.Stdout, out.Stderr)
	return string(out.Stdout)
}

// await runs a script until it prints what is wanted. The limit is no measure of speed.
func (n node) await(script, want string) {
	n.t.Helper()
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		got := strings.TrimSpace(n.sh("{ " + script + "; } 2>&1 || true"))
		if got == want {
			return
		}
		require.True(n.t, time.Now().Before(end), "%s prints %q, want %q", script, got, want)
	}
}

// plugin calls Multibond as a runtime does.
func (n node) plugin(command string) {
	n.t.Helper()
	out, err := n.vm.Run(n.t.Context(), lab.Cmd{
		Args: []string{"/opt/cni/bin/multibond"}, Stdin: []byte(silentBond),
		Env: []string{"CNI_COMMAND=" + command, "CNI_CONTAINERID=silent", "CNI_NETNS=/run/netns/silent", "CNI_IFNAME=bond0", "CNI_PATH=/opt/cni/bin"},
	})
	require.NoError(n.t, err)
	require.Zero(n.t, out.Exit, "%s: %s%s", command, out.Stdout, out.Stderr)
}

// cable plugs the cable of enp1s0 in, or pulls it, and waits until the PF has noticed.
func (n node) cable(in bool) {
	n.t.Helper()
	require.NoError(n.t, n.vm.Cable(0, in))
	n.await("cat /sys/class/net/enp1s0/carrier", map[bool]string{true: "1", false: "0"}[in])
}

// keep starts keep, which may enter pods. kill ends it at once.
func (n node) keep() (kill func()) {
	n.t.Helper()
	p, err := n.vm.Start(n.t.Context(), lab.Cmd{
		Args: []string{"/opt/cni/bin/multibond", "keep", "-agent", "/run/none/agent.sock", "-netns", "/run/netns"}, Stderr: os.Stdout,
	})
	require.NoError(n.t, err)
	return func() {
		require.NoError(n.t, p.Kill())
		p.Wait()
	}
}

// carries waits until a link carries the traffic, and traffic flows.
func (n node) carries(link string) {
	n.t.Helper()
	n.await("ip netns exec silent cat /sys/class/net/bond0/bonding/active_slave", link)
	n.await("ip netns exec silent ping -c 1 -W 1 10.57.0.1 >/dev/null && echo flows", "flows")
}

// state is what must be as before.
func (n node) state() string {
	return n.sh(`for l in /sys/class/net/enp*; do echo ${l##*/} $(cat $l/address $l/mtu $l/flags); done
		ip link show enp1s0 | grep vf; ip link show enp2s0 | grep vf
		mkdir -p /var/lib/cni; find /var/lib/cni -name '*.json' -o -name 0000:* -o -name '10.*'`)
}

// TestSilentCable: a cable is pulled, its VF keeps its carrier, and its driver cannot disable
// it. keep sets the link down in the pod, however often it is killed, and DEL makes all as
// before. The same if the PF keeps its carrier and loses its LACP partner.
func TestSilentCable(t *testing.T) {
	t.Parallel()
	for _, kernel := range lab.Kernels() {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			vm, err := lab.Boot(ctx, lab.Options{
				Kernel: kernel, PFs: 3, VFs: 2, Timeout: limit, Log: t.Output(), Files: map[string]string{"bin/multibond": filepath.Join(lab.Programs(), "multibond")},
			})
			require.NoError(t, err)
			defer vm.Close()
			n := node{t, vm}
			n.sh("ip netns add silent; echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore; ip address add 10.57.0.1/24 dev enp2s0")
			// Once each VF has been up, its PF has heard its MAC.
			n.sh("for v in /sys/class/net/enp*v*; do ip link set ${v##*/} up; ip link set ${v##*/} down; done")
			t.Run("carrier", func(t *testing.T) { testSilentCable(node{t, vm}) })
			t.Run("LACP", func(t *testing.T) { testSilentLACP(node{t, vm}) })
		})
	}
}

func testSilentCable(n node) {
	before := n.state()
	n.plugin("ADD")
	n.carries("bond0-1")
	kill := n.keep()
	n.cable(false)
	n.carries("bond0-2")
	n.plugin("CHECK")
	kill()
	n.cable(true)
	assert.Contains(n.t, n.sh("ip -n silent link show bond0-1"), "state DOWN", "nobody was there to set it up")
	kill = n.keep()
	n.carries("bond0-1")
	n.cable(false)
	n.carries("bond0-2")
	n.plugin("DEL")
	kill()
	n.cable(true)
	assert.Equal(n.t, before, n.state())

	for delay := range 6 {
		n.plugin("ADD")
		n.cable(false)
		kill := n.keep()
		time.Sleep(time.Duration(delay) * 40 * time.Millisecond)
		kill()
		if delay%2 == 0 {
			kill := n.keep()
			n.carries("bond0-2")
			kill()
		}
		n.plugin("DEL")
		n.cable(true)
		assert.Equal(n.t, before, n.state(), fmt.Sprint(delay))
	}
}

// testSilentLACP has enp1s0 in a bond of the host in 802.3ad, whose partner is enp3s0.
func testSilentLACP(n node) {
	const bond = "type bond mode 802.3ad lacp_rate fast miimon 100"
	before := n.state()
	n.sh(`ip netns add switch; ip link set enp3s0 down; ip link set enp3s0 netns switch
		ip -n switch link add lacp1 ` + bond + `; ip -n switch link set enp3s0 master lacp1; ip -n switch link set lacp1 up
		ip link add lacp0 ` + bond + `; ip link set enp1s0 down; ip link set enp1s0 master lacp0; ip link set lacp0 up`)
	n.agrees("60")
	n.plugin("ADD")
	kill := n.keep()
	// The emulated card hears its own LACPDUs, after which Linux does not notice that those of
	// the partner stay away. So the partner says that it leaves.
	const leave, join = "ip -n switch link set enp3s0 nomaster", "ip -n switch link set enp3s0 down; ip -n switch link set enp3s0 master lacp1"
	for _, again := range []bool{true, false} {
		n.carries("bond0-1")
		n.sh(leave)
		n.carries("bond0-2")
		assert.Equal(n.t, "1\n", n.sh("cat /sys/class/net/enp1s0/carrier"))
		if again {
			n.sh(join)
		}
	}
	n.plugin("DEL")
	kill()
	n.sh("ip link del lacp0; ip link set enp1s0 up; ip netns del switch")
	n.await("ip link set enp3s0 up && echo back", "back")
	n.cable(true)
	assert.Equal(n.t, before, n.state())
}

// agrees waits until both ends of the LACP of enp1s0 have all bits of a decimal number.
func (n node) agrees(bits string) {
	const dir = "/sys/class/net/enp1s0/bonding_slave"
	n.await("echo $(($(cat "+dir+"/ad_actor_oper_port_state) & $(cat "+dir+"/ad_partner_oper_port_state) & "+bits+"))", bits)
}
