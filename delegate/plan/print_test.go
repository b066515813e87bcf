package plan

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/multibond/multibond/delegate/netconf"
)

// TestPrintSettings: a plan shows each setting of a VF.
func TestPrintSettings(t *testing.T) {
	set := netconf.NewConfig([]byte(`{"type": "sriov", "vlan": 0, "vlanQoS": 3, "vlanProto": "802.1ad", "mac": "02:00:00:00:00:01",
		"trust": "on", "spoofchk": "off", "link_state": "auto", "min_tx_rate": 0, "max_tx_rate": 100}`))
	words := vfWords(set.VFSettings)
	assert.Equal(t, []string{"vlan 0", "qos 3", "proto 802.1ad", "mac 02:00:00:00:00:01", "trust on", "spoofchk off", "state auto",
		"min_tx_rate 0", "max_tx_rate 100"}, words)
	assert.Len(t, words, reflect.TypeFor[netconf.VFSettings]().NumField())
	assert.Empty(t, vfWords(netconf.VFSettings{}))
}
