package delegate

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	types020 "github.com/containernetworking/cni/pkg/types/020"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
)

// Versions are the CNI versions that configurations and results can have. Of
// the first two a result has no more than one address of each family, and no
// interface.
var Versions = version.PluginSupports("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")

// PrintResult writes a result as a CNI version has it: what came with 1.1.0
// (pciID, mtu, and the routes' newer fields) is left out of older ones. No
// version is the first.
func PrintResult(w io.Writer, r *current.Result, cniVersion string) error {
	cniVersion = cmp.Or(cniVersion, "0.1.0")
	newest, err := version.GreaterThanOrEqualTo(cniVersion, "1.1.0")
	if err != nil {
		return fmt.Errorf("result as CNI %s: %w", cniVersion, err)
	}
	if !newest {
		r = plain(r)
	}
	if len(r.IPs) == 0 && slices.Contains([]string{"0.1.0", types020.ImplementedSpecVersion}, cniVersion) {
		// The CNI project's conversion takes this for an error.
		return (&types020.Result{CNIVersion: cniVersion, DNS: r.DNS}).PrintTo(w)
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
