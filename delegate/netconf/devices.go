package netconf

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/strictjson"
)

// OpenLink is an element of links before the devices that it asks for are known.
type OpenLink struct {
	Text  json.RawMessage // the element without what asks for devices
	Asks  string          // key that asks, resourceName or request; "" if it asks for none
	Value string          // name of the resource or the request
	Count int             // number of links that it stands for
}

// FillLinks returns the configuration with links made from open, where devices, in
// order, replace what asks for them. A link whose device is "" still asks for one.
// There must be as many devices as links that ask. Every byte outside of links stays.
func FillLinks(raw json.RawMessage, open []OpenLink, devices []string) json.RawMessage {
	if len(open) == 0 {
		return raw
	}
	var links []json.RawMessage
	for _, l := range open {
		for range l.Count {
			text := l.Text
			if l.Asks != "" {
				text, devices = l.with(devices[0]), devices[1:]
			}
			links = append(links, text)
		}
	}
	return strictjson.SetField(raw, "links", strictjson.JoinList(links))
}

// with returns the link with its device, or asking for one if device is empty.
func (l OpenLink) with(device string) json.RawMessage {
	if device == "" {
		return strictjson.SetField(l.Text, l.Asks, strictjson.Encode(l.Value))
	}
	return strictjson.SetField(l.Text, "deviceID", strictjson.Encode(device))
}

// WithDevices returns the configuration of a bond network with devices, in order, in
// place of what asks for them. The error lists the links without a device and the
// devices without a link. Its code is 6 if raw is not a JSON object, otherwise 7.
func WithDevices(raw json.RawMessage, devices []string) (json.RawMessage, error) {
	fields, err := decodeTop(raw)
	if err != nil {
		return nil, err
	}
	var plugins []json.RawMessage
	if isBondList(fields) && lenient(fields).Read("plugins", &plugins, "") && len(plugins) > 0 {
		if plugins[0], err = WithDevices(plugins[0], devices); err != nil {
			return nil, err
		}
		return strictjson.SetField(raw, "plugins", strictjson.JoinList(plugins)), nil
	}
	var problems bond.Problems
	top := strictjson.Object{Fields: fields, Problems: &problems}
	var elements []json.RawMessage
	top.Read("links", &elements, "a list of objects")
	var open []OpenLink
	left := devices
	for i, text := range elements {
		o, is := strictjson.Decode(text, fmt.Sprintf("links[%d]", i), &problems)
		if !is {
			continue
		}
		l := openLink(text, o)
		if l.Asks != "" {
			if l.Count > len(left) {
				problems.Add(code.DeviceCount, o.Path, "add one to -devices", "no device is left for it")
			}
			left = left[min(l.Count, len(left)):]
		}
		open = append(open, l)
	}
	if len(left) > 0 {
		problems.Add(code.DeviceCount, "", "", "no link asks for %s", strings.Join(left, ", "))
	}
	if err := problems.Err(); err != nil {
		return nil, cnierror.Errorf(types.ErrInvalidNetworkConfig, "network %s: %w", cmp.Or(lenient(fields).Text("name"), "without a name"), err)
	}
	return FillLinks(raw, open, devices), nil
}

// openLink reads the element o of links. text is its text.
func openLink(text json.RawMessage, o strictjson.Object) OpenLink {
	l := OpenLink{Text: text, Count: 1}
	if o.Has("pool") {
		return l // its count is read with it
	}
	l.Text = strictjson.DropField(text, "count")
	count := 1
	o.Read("count", &count, "a whole number")
	for _, key := range []string{"resourceName", "request"} {
		if l.Asks == "" && o.Has(key) {
			l.Asks, l.Value, l.Count = key, o.Text(key), max(0, count)
		}
	}
	if l.Asks != "" {
		l.Text = strictjson.DropField(strictjson.DropField(l.Text, "resourceName"), "request")
	}
	return l
}
