package plan

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
)

// TestLinkMAC checks which bonds have one MAC for all links, and which MAC that is.
func TestLinkMAC(t *testing.T) {
	const macA, own = "02:00:00:00:00:0a", "02:00:00:00:00:aa"
	samePF := func(f *Facts) { d := f.Devices[vfB]; d.PFNetdev, d.PF = "enp1s0", pfA; f.Devices[vfB] = d }
	const sriov = `"links": [{"deviceID": "0000:3b:02.0"}, {"deviceID": "0000:5e:02.0"}]`
	const shared, hint = `"macPolicy": "shared", `, " (leave macPolicy out, or set it to own)"
	for _, test := range []struct {
		name, keys string
		change     func(*Facts)
		want       string
		problem    string
	}{
		{"two VFs of two PFs", shared + sriov, nil, macA, ""},
		{"not asked for", sriov, nil, "", ""},
		{"own", `"macPolicy": "own", ` + sriov, nil, "", ""},
		{"a MAC", shared + `"mac": "` + own + `", ` + sriov, nil, own, ""},
		{"one PF", shared + `"require": {"distinctPF": "ignore"}, ` + sriov, samePF, "",
			"macPolicy: is shared, but links[1] is on the same PF as links[0], enp1s0, whose switch would have one MAC twice" + hint},
		{"a link that another plugin makes", shared + `"links": [{"deviceID": "0000:3b:02.0"}, {"config": {"type": "host-local"}}]`, nil, "",
			"macPolicy: is shared, but links[1], bond0-2, is not a VF that Multibond attaches" + hint},
		{"the pod's links", shared + `"linksInContainer": true, "links": [{"name": "net1"}, {"name": "net2"}]`, nil, "",
			"macPolicy: is shared, but links[0], net1, is not a VF that Multibond attaches" + hint},
		{"MACs from the plugins", shared + `"delegate": {"type": "sriov", "mac": "02:00:00:00:00:bb"}, ` + sriov, nil, "",
			"macPolicy: is shared, but the configuration that attaches links[0] sets a mac" + hint},
		{"MACs from the plugins' runtimeConfig", shared + `"delegate": {"type": "sriov", "runtimeConfig": {"mac": "02:00:00:00:00:bb"}}, ` + sriov, nil, "",
			"macPolicy: is shared, but the configuration that attaches links[0] sets a mac" + hint},
		{"no such device", shared + sriov, func(f *Facts) { f.Devices[vfB] = bond.DeviceFacts{Missing: true} }, "",
			"links[1].deviceID: there is no PCI device 0000:5e:02.0 (list them with: lspci -D | grep 'Virtual Function')"},
		{"no MAC to share", shared + sriov, func(f *Facts) { f.Devices[vfA].Link.MAC = "" }, "",
			`macPolicy: is shared, but links[0] has no MAC that can be shared, but ""` + hint},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := nodeFacts()
			f.Devices[vfA].Link.MAC, f.Devices[vfB].Link.MAC = macA, "02:00:00:00:00:0b"
			if test.change != nil {
				test.change(&f)
			}
			plan, _, err := Compile(request(t, `{"name": "n", `+test.keys+`}`), f)
			if test.problem != "" {
				require.EqualError(t, err, "network n: "+test.problem)
				require.EqualValues(t, cnierror.Node, cnierror.Code(err))
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.want, plan.Bond.LinkMAC)
			assert.Equal(t, test.want != "", strings.Contains(plan.String(), "\nbond0-2: mac "+test.want+"\n"), plan)
		})
	}
}
