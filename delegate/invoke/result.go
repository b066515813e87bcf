package invoke

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	types020 "github.com/containernetworking/cni/pkg/types/020"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/multibond/multibond/delegate/strictjson"
)

// Versions are the CNI versions that configurations and results can have. Results of the
// first two have at most one address of each family, and no interface.
var Versions = version.PluginSupports("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")

// PrintResult writes a result in a CNI version. It leaves out of older versions what
// came with 1.1.0: pciID, mtu, and the newer fields of routes. Version "" is the first
// one.
func PrintResult(w io.Writer, r *current.Result, cniVersion string) error {
	cniVersion = cmp.Or(cniVersion, "0.1.0")
	newest, err := version.GreaterThanOrEqualTo(cniVersion, "1.1.0")
	if err != nil {
		return fmt.Errorf("converting the result to CNI %s: %w", cniVersion, err)
	}
	if !newest {
		r = downgrade(r)
	}
	if len(r.IPs) == 0 && slices.Contains([]string{"0.1.0", types020.ImplementedSpecVersion}, cniVersion) {
		// The CNI project's conversion returns an error for this.
		return (&types020.Result{CNIVersion: cniVersion, DNS: r.DNS}).PrintTo(w)
	}
	converted, err := r.GetAsVersion(cniVersion)
	if err != nil {
		return fmt.Errorf("converting the result to CNI %s: %w", cniVersion, err)
	}
	return converted.PrintTo(w)
}

// downgrade returns the result without what CNI 1.1.0 added.
func downgrade(r *current.Result) *current.Result {
	out := &current.Result{CNIVersion: r.CNIVersion, IPs: r.IPs, DNS: r.DNS}
	for _, i := range r.Interfaces {
		out.Interfaces = append(out.Interfaces, &current.Interface{Name: i.Name, Mac: i.Mac, Sandbox: i.Sandbox})
	}
	for _, route := range r.Routes {
		out.Routes = append(out.Routes, &types.Route{Dst: route.Dst, GW: route.GW})
	}
	return out
}

// ParseResult reads a plugin's result of any version. A result that names none has
// the version of the plugin's configuration, which is "" if that names none either.
func ParseResult(out json.RawMessage, configVersion string) (*current.Result, error) {
	fields, err := ResultFields(out)
	if err != nil {
		return nil, err
	}
	version, err := create.DecodeVersion(out)
	if err != nil {
		return nil, err
	}
	if _, named := fields["cniVersion"]; !named {
		version = cmp.Or(configVersion, "0.1.0")
		fields["cniVersion"] = strictjson.Encode(version)
	}
	result, err := create.Create(version, strictjson.Encode(fields))
	if err != nil {
		return nil, err
	}
	return current.NewResultFromResult(result)
}

// InVersion returns what a plugin printed in a CNI version, as the next plugin of its list
// needs it. If it has that version, it is returned as it is.
func InVersion(out json.RawMessage, cniVersion string) (json.RawMessage, error) {
	fields, err := ResultFields(out)
	if err != nil {
		return nil, err
	}
	var own string
	if json.Unmarshal(fields["cniVersion"], &own) == nil && own == cniVersion {
		return out, nil
	}
	result, err := ParseResult(out, cniVersion)
	if err != nil {
		return nil, err
	}
	var converted bytes.Buffer
	err = PrintResult(&converted, result, cniVersion)
	return converted.Bytes(), err
}

// ResultFields reads what a plugin printed as the object that a result is.
func ResultFields(out json.RawMessage) (fields map[string]json.RawMessage, err error) {
	const most = 100
	if err := json.Unmarshal(out, &fields); err != nil || fields == nil {
		return nil, fmt.Errorf("it printed no result: %q", out[:min(len(out), most)])
	}
	for _, key := range []string{"interfaces", "ips", "routes"} {
		// The CNI project's conversions need these.
		var list []*struct{}
		if json.Unmarshal(fields[key], &list) == nil && slices.Contains(list, nil) {
			return nil, fmt.Errorf("it printed a result in which an element of %s is null", key)
		}
	}
	return fields, nil
}

// DecodeResult reads a result that was stored, of any version.
func DecodeResult(raw json.RawMessage) (*current.Result, error) {
	result, err := current.NewResult(raw)
	if err != nil {
		return nil, fmt.Errorf("reading the stored result: %w", err)
	}
	return current.GetResult(result)
}
