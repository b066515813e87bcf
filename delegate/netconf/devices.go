package netconf

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/strictjson"
)

// WithDevices puts devices in the place of what asks the agent for them
// (resourceName or request, with its count), in order.
func WithDevices(raw json.RawMessage, devices []string) (json.RawMessage, error) {
	fields, err := decodeTop(raw)
	if err != nil {
		return nil, err
	}
	var problems bond.Problems
	top := strictjson.Object{Fields: fields, Problems: &problems}
	var links []map[string]json.RawMessage
	for _, l := range top.Each("links") {
		by := slices.IndexFunc([]string{"resourceName", "request"}, l.Has)
		count := 1
		l.Read("count", &count, "a whole number")
		if delete(l.Fields, "count"); by < 0 {
			links = append(links, l.Fields)
			continue
		}
		delete(l.Fields, "resourceName")
		delete(l.Fields, "request")
		for range count {
			if len(devices) == 0 {
				problems.Add(l.Path, "give more", "there is no device left for it")
				break
			}
			one := map[string]json.RawMessage{"deviceID": strictjson.Encode(devices[0])}
			for key, value := range l.Fields {
				one[key] = value
			}
			links, devices = append(links, one), devices[1:]
		}
	}
	if len(devices) > 0 {
		problems.Add("", "", "no link asks for %s", strings.Join(devices, ", "))
	}
	if err := problems.Err(); err != nil {
		return nil, cnierror.Errorf(types.ErrInvalidNetworkConfig, "network %s: %w", cmp.Or(textOf(fields["name"]), "without a name"), err)
	}
	fields["links"] = strictjson.Encode(links)
	return strictjson.Encode(fields), nil
}
