package netconf

import (
	"fmt"
	"maps"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/strictjson"
)

// ParseChain reads the configuration, single or a list, of a network that
// other plugins make. All problems are returned at once, each with its path.
// The error's code is 6 where raw is no JSON, 7 where it says something wrong.
func ParseChain(raw []byte) (Network, error) {
	var problems bond.Problems
	fields, err := decodeTop(raw)
	if err != nil {
		return Network{}, err
	}
	top := strictjson.Object{Fields: fields, Problems: &problems}
	n := Network{Config: NewConfig(raw), CNIVersion: top.Text("cniVersion"), Name: networkName(top)}
	if n.CNIVersion == "" {
		n.CNIVersion = DefaultVersion
	}
	plugins := []strictjson.Object{top}
	if top.Has("plugins") {
		if plugins = pluginObjects(top); len(plugins) == 0 && len(problems) == 0 {
			top.Problems.Add("plugins", "", "has no plugin's configuration")
		}
	}
	for _, o := range plugins {
		p := n.chainPlugin(o)
		n.Chain = append(n.Chain, p)
		if p.Type == BondCNI {
			n.PodLinks = append(n.PodLinks, bondCNIPodLinks(o)...)
		}
	}
	if err := problems.Err(); err != nil {
		if n.Name != "" {
			err = fmt.Errorf("network %s: %w", n.Name, err)
		}
		return n, cnierror.With(types.ErrInvalidNetworkConfig, err)
	}
	return n, nil
}

// chainPlugin makes one plugin's standard input: every plugin of a list gets
// the list's name and version (CNI specification, section 4).
func (n Network) chainPlugin(o strictjson.Object) Plugin {
	p := Plugin{Type: pluginType(o)}
	fields := maps.Clone(o.Fields)
	fields["name"], fields["cniVersion"] = strictjson.Encode(n.Name), strictjson.Encode(n.CNIVersion)
	p.Config = NewConfig(strictjson.Encode(fields))
	return p
}
