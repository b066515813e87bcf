package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestBondCNI checks that the links of bond-cni's bond have the names that Multus
// gives to the networks before it.
func TestBondCNI(t *testing.T) {
	p := labPod{Name: "bond2", VFs: 2, Bond: true}
	assert.Equal(t, []string{"bond2@bond0"}, p.networks())
	assert.Equal(t, []string{"sriov0", "sriov1", "bond2-bond-cni@bond0"}, p.networksOfMultus())
	assert.Equal(t, []map[string]string{{"name": "net1"}, {"name": "net2"}}, labNetworks()["bond2-bond-cni"].(map[string]any)["links"])
}

func TestLabTable(t *testing.T) {
	of := func(ms float64) map[string]Stats { return map[string]Stats{"multibond": {Median: ms}} }
	ratio := map[string]Ratio{"multus thin": {0.5, 0.4, 0.6}}
	p := LabPeer{Bond: true, VFs: 2, ADD: of(1000), DEL: of(500), Again: of(40), Ratios: Ratios{"ADD": ratio, "DEL": ratio, "DEL again": ratio},
		Cost: map[string]Cost{"multus thin": {7, 7, 12000}}}
	assert.Equal(t, `lab, 2 VFs in a bond
  ADD        1000 ms, 0.50 (0.40 to 0.60) of multus thin
  DEL         500 ms, 0.50 (0.40 to 0.60) of multus thin
  DEL again    40 ms, 0.50 (0.40 to 0.60) of multus thin
  multus thin  executes  7 programs in ADD,  7 in DEL; at most 12000 KiB`, p.String())
}
