package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// claim asks for a VF of each of two PFs, by name.
const claim = `{"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": "pair"}, "spec": {"devices": {
	"requests": [{"name": "left", "exactly": {"deviceClassName": "e2e-vf"}}, {"name": "right", "exactly": {"deviceClassName": "e2e-vf"}}],
	"constraints": [{"requests": ["left", "right"], "distinctAttribute": "sriov.multibond.test/pf"}]}}}`

const deviceClass = `{"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": "e2e-vf"},
	"spec": {"selectors": [{"cel": {"expression": "device.driver == 'sriov.multibond.test'"}}]}}`

// withDriver runs a DRA driver of the VFs until the test ends. The driver is the tests' own:
// it leaves VFs to the CNI plugin, as the SR-IOV driver does in its MULTUS mode.
func withDriver(t *testing.T) *scene {
	s := newScene(t)
	s.kubectl("apply", "-k", "deploy/dra")
	s.pipe(deviceClass, "apply", "-f", "-")
	t.Cleanup(func() {
		s.kubectl("delete", "deviceclass", "e2e-vf")
		s.kubectl("delete", "-k", "deploy/dra")
	})
	s.on("cat >/etc/e2e-dra.conf <<'END'\n" + c.NodeKubeconfig() + "\nEND")
	pid := strings.TrimSpace(s.on("dra -kubeconfig /etc/e2e-dra.conf -node " + c.Node.Name +
		" 0000:01:10.2 0000:01:10.4 0000:02:10.2 >/var/log/node/dra 2>&1 & echo $!"))
	t.Cleanup(func() {
		s.deletePods() // the kubelet asks the driver to take the VFs back
		s.on("kill " + pid + " && rm /etc/e2e-dra.conf")
		s.kubectl("delete", "resourceslices", "--all")
	})
	return s
}

// podOf creates the pod p with the bond bond-net1 and these claims of its specification, and
// waits until it is ready.
func (s *scene) podOf(claims ...map[string]any) {
	s.Helper()
	spec := podSpec(0)
	var names []any
	for _, one := range claims {
		names = append(names, map[string]any{"name": one["name"]})
	}
	spec["resourceClaims"] = claims
	spec["containers"].([]map[string]any)[0]["resources"] = map[string]any{"claims": names}
	s.apply(string(encode(map[string]any{
		"apiVersion": "v1", "kind": "Pod", "spec": spec,
		"metadata": map[string]any{"name": "p", "annotations": map[string]string{"k8s.v1.cni.cncf.io/networks": "bond-net1@bond0"}},
	})))
	if out, err := c.Kubectl(context.WithoutCancel(s.Context()), "", "-n", s.namespace, "wait", "--for=condition=Ready", "--timeout=5m", "pod/p"); err != nil {
		s.Fatalf("%s%v\n%s", out, err, s.on("cat /var/log/node/dra"))
	}
}

// linkDevices returns the devices of the bond's links, as a driver names them.
func (s *scene) linkDevices() (devices []string) {
	for _, link := range s.status("p")[1]["multibond.io/links"].([]any) {
		device := link.(map[string]any)["device-info"].(map[string]any)["pci"].(map[string]any)["pci-address"].(string)
		devices = append(devices, strings.NewReplacer(":", "-", ".", "-").Replace(device))
	}
	return devices
}

// TestDRA: the VFs are a resource claim's, which the kubelet tells.
func TestDRA(t *testing.T) {
	s := withDriver(t)
	s.apply(claim, nad("bond-net1", `{"cniVersion": "1.0.0", "type": "multibond", "links": [{"request": "left"}, {"request": "right"}],
		"ipam": {"type": "host-local", "subnet": "10.56.217.0/24"}}`))
	s.podOf(map[string]any{"name": "vfs", "resourceClaimName": "pair"})
	allocated := s.kubectl("-n", s.namespace, "get", "resourceclaim", "pair", "-o", `jsonpath={range .status.allocation.devices.results[*]}{.request}={.device}{"\n"}{end}`)
	got := s.linkDevices()
	assert.Equal(t, allocated, fmt.Sprintf("left=%s\nright=%s\n", got[0], got[1]), "the devices of the claim and of the links")
}

// template makes a claim of one VF.
const template = `{"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate", "metadata": {"name": "one"},
	"spec": {"spec": {"devices": {"requests": [{"name": "vf", "exactly": {"deviceClassName": "e2e-vf"}}]}}}}`

// TestDRATemplate: two claims of one template have requests of the same name, so links name
// the claims too. The scheduler may take two VFs of one PF.
func TestDRATemplate(t *testing.T) {
	s := withDriver(t)
	s.apply(template, nad("bond-net1", `{"cniVersion": "1.0.0", "type": "multibond", "links": [{"request": "second/vf"}, {"request": "first/vf"}],
		"require": {"distinctPF": "warn"}, "ipam": {"type": "host-local", "subnet": "10.56.217.0/24"}}`))
	s.podOf(map[string]any{"name": "first", "resourceClaimTemplateName": "one"}, map[string]any{"name": "second", "resourceClaimTemplateName": "one"})
	var want []string
	for _, name := range []string{"second", "first"} {
		made := s.kubectl("-n", s.namespace, "get", "pod", "p", "-o", `jsonpath={.status.resourceClaimStatuses[?(@.name=="`+name+`")].resourceClaimName}`)
		want = append(want, s.kubectl("-n", s.namespace, "get", "resourceclaim", made, "-o", "jsonpath={.status.allocation.devices.results[0].device}"))
	}
	assert.Equal(t, want, s.linkDevices(), "the devices of the claims and of the links")
}
