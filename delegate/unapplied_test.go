package delegate

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestUnapplied: a sriov-cni that does not know a setting ignores it. ADD warns of that.
func TestUnapplied(t *testing.T) {
	const warning = "network net1: sriov did not set spoofchk off (it is on), trust on (it is off) of VF 0 of enp1s0 (0000:3b:02.0): " +
		"its release does not know the setting, or the driver of the PF ignores it"
	m := newMachine(t)
	m.mustAdd(request(t, strings.Replace(standard, `{"deviceID": "0000:3b:02.0"}`,
		`{"deviceID": "0000:3b:02.0", "config": {"type": "sriov", "vlan": 100, "spoofchk": "off", "trust": "on"}}`, 1)))
	assert.Equal(t, "multibond: "+warning+"\n", m.log.String())
	assert.Equal(t, []string{warning}, m.readRecord(c1).Warnings)
}
