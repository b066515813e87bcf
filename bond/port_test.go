package bond

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReadPort(t *testing.T) {
	const vf, net = "0000:01:10.2", "../../../class/net/enp1s0/"
	all := map[string]string{
		vf + "/numa_node": "1\n", net + "phys_port_id": "0c42a1b2c3d4\n", net + "speed": "25000\n", net + "master": "-> ../../../../virtual/net/bond0",
	}
	but := func(name, what string) map[string]string {
		changed := map[string]string{}
		for k, v := range all {
			changed[k] = v
		}
		changed[name] = what
		return changed
	}
	whole := Port{ID: "0c42a1b2c3d4", Speed: 25000, NUMA: "1", Bond: "bond0", BondMode: "802.3ad"}
	with := func(change func(*Port)) Port { p := whole; change(&p); return p }
	for _, c := range []struct {
		name   string
		change map[string]string
		mode   string
		want   Port
	}{
		{"all of it", all, "802.3ad 4\n", whole},
		{"nothing", nil, "", Port{}},
		{"one NUMA node", but(vf+"/numa_node", "-1\n"), "802.3ad 4\n", with(func(p *Port) { p.NUMA = "" })},
		{"no speed", but(net+"speed", "-1\n"), "802.3ad 4\n", with(func(p *Port) { p.Speed = 0 })},
		{"a speed that cannot be read", but(net+"speed", "/"), "802.3ad 4\n", with(func(p *Port) { p.Speed = 0 })},
		{"part of a bridge", all, "", with(func(p *Port) { p.Bond, p.BondMode = "", "" })},
	} {
		t.Run(c.name, func(t *testing.T) {
			sys := node(c.change)
			if c.mode != "" {
				sys["class/net/bond0/bonding/mode"] = &fstest.MapFile{Data: []byte(c.mode)}
			}
			d, err := ReadDevice(sys, vf, "")
			require.NoError(t, err)
			assert.Equal(t, c.want, ReadPort(sys, d))
		})
	}
}
