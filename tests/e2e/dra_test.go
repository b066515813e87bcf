package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/multibond/multibond/tests/cluster"
)

// claim asks for a VF of each of two PFs, by name.
const claim = `{"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": "pair"}, "spec": {"devices": {
	"requests": [{"name": "left", "exactly": {"deviceClassName": "e2e-vf"}}, {"name": "right", "exactly": {"deviceClassName": "e2e-vf"}}],
	"constraints": [{"requests": ["left", "right"], "distinctAttribute": "sriov.multibond.test/pf"}]}}}`

const deviceClass = `{"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": "e2e-vf"},
	"spec": {"selectors": [{"cel": {"expression": "device.driver == 'sriov.multibond.test'"}}]}}`

// TestDRA: the VFs are a resource claim's, which the kubelet tells. The driver
// is the tests' own: it leaves VFs to the CNI plugin, as the SR-IOV driver does
// in its MULTUS mode.
func TestDRA(t *testing.T) {
	s := newScene(t)
	s.kubectl("apply", "-k", "deploy/dra")
	s.pipe(deviceClass, "apply", "-f", "-")
	t.Cleanup(func() {
		s.kubectl("delete", "deviceclass", "e2e-vf")
		s.kubectl("delete", "-k", "deploy/dra")
	})
	s.on("cat >/etc/e2e-dra.conf <<'END'\n" + c.NodeKubeconfig() + "\nEND")
	pid := strings.TrimSpace(s.on("dra -kubeconfig /etc/e2e-dra.conf -node " + cluster.NodeName +
		" 0000:01:10.2 0000:01:10.4 0000:02:10.2 >/var/log/node/dra 2>&1 & echo $!"))
	t.Cleanup(func() {
		s.deletePods() // the kubelet asks the driver to take the VFs back
		s.on("kill " + pid + " && rm /etc/e2e-dra.conf")
		s.kubectl("delete", "resourceslices", "--all")
	})
	s.apply(claim, nad("bond-net1", `{"cniVersion": "1.0.0", "type": "multibond", "links": [{"request": "left"}, {"request": "right"}],
		"ipam": {"type": "host-local", "subnet": "10.56.217.0/24"}}`))
	spec := podSpec(0)
	spec["resourceClaims"] = []any{map[string]any{"name": "vfs", "resourceClaimName": "pair"}}
	spec["containers"].([]map[string]any)[0]["resources"] = map[string]any{"claims": []any{map[string]any{"name": "vfs"}}}
	s.apply(string(encode(map[string]any{
		"apiVersion": "v1", "kind": "Pod", "spec": spec,
		"metadata": map[string]any{"name": "p", "annotations": map[string]string{"k8s.v1.cni.cncf.io/networks": "bond-net1@bond0"}},
	})))
	if out, err := c.Kubectl(context.WithoutCancel(t.Context()), "", "-n", s.namespace, "wait", "--for=condition=Ready", "--timeout=5m", "pod/p"); err != nil {
		t.Fatalf("%s%v\n%s", out, err, s.on("cat /var/log/node/dra"))
	}
	allocated := s.kubectl("-n", s.namespace, "get", "resourceclaim", "pair", "-o", `jsonpath={range .status.allocation.devices.results[*]}{.request}={.device}{"\n"}{end}`)
	var got string
	for i, request := range []string{"left", "right"} {
		link := s.status("p")[1]["multibond.io/links"].([]any)[i].(map[string]any)
		device := link["device-info"].(map[string]any)["pci"].(map[string]any)["pci-address"].(string)
		got += fmt.Sprintf("%s=%s\n", request, strings.NewReplacer(":", "-", ".", "-").Replace(device))
	}
	assert.Equal(t, allocated, got, "the devices of the claim and of the links")
}
