package kubeclient

import (
	"encoding/json"
	"errors"
	"io/fs"
	"slices"

	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/netconf/confdir"
)

// multusTypes are the types of Multus, thin and thick.
var multusTypes = []string{"multus", "multus-shim"}

// multusIsolation returns how Multus isolates namespaces, as its configuration in the
// runtime's directory says. It does not tell the plugins that it calls. If there is no such
// configuration, nothing is isolated.
func multusIsolation(dir fs.FS) (isolated bool, global []string, err error) {
	files, err := confdir.Files(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil, nil
	}
	if err != nil {
		return false, nil, err
	}
	for _, file := range files {
		raw, err := fs.ReadFile(dir, file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return false, nil, err
		}
		for _, one := range pluginsIn(raw) {
			var head struct{ Type string }
			if json.Unmarshal(one, &head) == nil && slices.Contains(multusTypes, head.Type) {
				return netconf.ParseIsolation(one)
			}
		}
	}
	return false, nil, nil
}

// pluginsIn returns the plugins of a configuration, single or a list.
func pluginsIn(raw json.RawMessage) []json.RawMessage {
	var list struct{ Plugins []json.RawMessage }
	if json.Unmarshal(raw, &list) == nil && list.Plugins != nil {
		return list.Plugins
	}
	return []json.RawMessage{raw}
}
