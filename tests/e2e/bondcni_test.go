package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// bondCNI is the configuration of bond-cni's README.
const bondCNI = `{
  "type": "bond",
  "cniVersion": "0.3.1",
  "name": "bond-net1",
  "ifname": "bond0",
  "mode": "active-backup",
  "failOverMac": 1,
  "linksInContainer": true,
  "miimon": "100",
  "links": [
     {"name": "net1"},
     {"name": "net2"}
  ],
  "ipam": {
    "type": "host-local",
    "subnet": "10.56.217.0/24",
    "routes": [{
      "dst": "0.0.0.0/0"
    }],
    "gateway": "10.56.217.1"
  }
}`

// sriovNAD is a network of VFs as bond-cni's README has them.
func sriovNAD(name, resource string) string {
	return fmt.Sprintf(`{"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
		"metadata": {"name": %q, "annotations": {"k8s.v1.cni.cncf.io/resourceName": %q}},
		"spec": {"config": "{\n  \"type\": \"sriov\",\n  \"name\": \"sriov-network\",\n  \"spoofchk\":\"off\"\n}"}}`, name, resource)
}

// TestThreeAttachments: the pods of bond-cni's documents, in their order and
// with the bond named first. No program is called bond here.
func TestThreeAttachments(t *testing.T) {
	s := newScene(t)
	s.apply(sriovNAD("sriov-net1", "intel.com/sriov_pf1"), sriovNAD("sriov-net2", "intel.com/sriov_pf2"), nad("bond-net1", bondCNI))
	const readme = `{"name": "bond-net1", "interface": "bond0"}`
	const links = `{"name": "sriov-net1", "interface": "net1"}, {"name": "sriov-net2", "interface": "net2"}`
	for _, test := range []struct {
		name, networks, bond string
		status               []string // name, interface and number of addresses
	}{
		{"readme", "[" + links + ", " + readme + "]", "bond0", []string{"sriov-net1 net1 0", "sriov-net2 net2 0", "bond-net1 bond0 1"}},
		{"openshift", "sriov-net1, sriov-net2, bond-net1", "net3", []string{"sriov-net1 net1 0", "sriov-net2 net2 0", "bond-net1 net3 1"}},
		{"first", "[" + readme + ", " + links + "]", "bond0", []string{"bond-net1 bond0 1", "sriov-net1 net1 0", "sriov-net2 net2 0"}},
		{"between", "sriov-net2@net2,bond-net1@bond0,sriov-net1@net1", "bond0", []string{"sriov-net2 net2 0", "bond-net1 bond0 1", "sriov-net1 net1 0"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &scene{T: t, namespace: s.namespace, before: s.before}
			s.apply(pod(test.name, test.networks, 1))
			s.ready(test.name)
			assert.Equal(t, "net1 net2\n", s.exec(test.name, "cat", "/sys/class/net/"+test.bond+"/bonding/slaves"), "the bond's links")
			var got []string
			for _, e := range s.status(test.name)[1:] {
				ips, _ := e["ips"].([]any)
				got = append(got, fmt.Sprint(strings.TrimPrefix(e["name"].(string), s.namespace+"/"), " ", e["interface"], " ", len(ips)))
			}
			assert.Equal(t, test.status, got, "network-status")
			if test.bond == "net3" {
				s.wantEvent(test.name, "NetworksWarned", "ifname: is bond0, but the runtime asks for net3 (CNI_IFNAME), which becomes the bond's name, as with bond-cni")
			}
			s.remove(test.name)
			s.wantBefore()
		})
	}
}
