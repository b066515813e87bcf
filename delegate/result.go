package delegate

import (
	"fmt"
	"io"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
)

// Versions are the CNI versions that configurations and results can have.
var Versions = version.PluginSupports("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")

// PrintResult writes a result as a CNI version has it: what came with 1.1.0
// (pciID, mtu, and the routes' newer fields) is left out of older ones.
func PrintResult(w io.Writer, r *current.Result, cniVersion string) error {
	newest, err := version.GreaterThanOrEqualTo(cniVersion, "1.1.0")
	if err != nil {
		return fmt.Errorf("result as CNI %s: %w", cniVersion, err)
	}
	if !newest {
		r = plain(r)
	}
	converted, err := r.GetAsVersion(cniVersion)
	if err != nil {
		return fmt.Errorf("result as CNI %s: %w", cniVersion, err)
	}
	return converted.PrintTo(w)
}

// plain is the result without what CNI 1.1.0 added.
func plain(r *current.Result) *current.Result {
	out := &current.Result{CNIVersion: r.CNIVersion, IPs: r.IPs, DNS: r.DNS}
	for _, i := range r.Interfaces {
		out.Interfaces = append(out.Interfaces, &current.Interface{Name: i.Name, Mac: i.Mac, Sandbox: i.Sandbox})
	}
	for _, route := range r.Routes {
		out.Routes = append(out.Routes, &types.Route{Dst: route.Dst, GW: route.GW})
	}
	return out
}
