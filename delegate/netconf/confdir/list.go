package confdir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/containernetworking/cni/pkg/utils"

	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/strictjson"
)

// head is what identifies a configuration.
type head struct {
	Name, Type             string
	Plugins                []struct{ Type string }
	LoadOnlyInlinedPlugins netconf.Flag
}

func (h head) isList() bool { return h.Type == "" || h.Plugins != nil }

func (h head) types() []string {
	types := []string{h.Type}
	if h.isList() {
		types = nil
	}
	for _, p := range h.Plugins {
		types = append(types, p.Type)
	}
	return types
}

// isDefault reports whether the configuration can be a pod's default network.
func (h head) isDefault() bool {
	isMeta := func(t string) bool { return slices.Contains(metaTypes, t) }
	isNetwork := func(t string) bool { return t != loopback }
	return !slices.ContainsFunc(h.types(), isMeta) && slices.ContainsFunc(h.types(), isNetwork)
}

// readConfig reads a file's configuration, a list with the plugins of its directory.
func readConfig(dir fs.FS, file string, wanted func(head) bool) (json.RawMessage, error) {
	raw, err := fs.ReadFile(dir, file)
	if err != nil {
		return nil, err
	}
	h, err := readHead(file, raw)
	if err == nil && h.isList() {
		if raw, err = withDirectory(dir, file, raw, h); err == nil {
			h, err = readHead(file, raw)
		}
	}
	switch {
	case err != nil:
		return nil, err
	case !wanted(h):
		return nil, errNoConfig
	}
	return raw, nil
}

func readHead(file string, raw []byte) (h head, err error) {
	if err := json.Unmarshal(raw, &h); err != nil {
		return h, fmt.Errorf("%s: %w", file, err)
	}
	return h, nil
}

// withDirectory appends the plugins that a list has in the directory with its name, as
// the CNI project's library does since 1.3: one in each *.conf file, by file name. A list
// that then has no plugin is an error.
func withDirectory(dir fs.FS, file string, raw json.RawMessage, h head) (json.RawMessage, error) {
	if h.LoadOnlyInlinedPlugins && len(h.Plugins) == 0 {
		return nil, fmt.Errorf("%s: has no plugins, although it has loadOnlyInlinedPlugins", file)
	}
	if h.LoadOnlyInlinedPlugins {
		return raw, nil
	}
	more, err := readDirectory(dir, h.Name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", file, err)
	case len(more) > 0:
		return strictjson.SetField(raw, "plugins", strictjson.JoinList(slices.Concat(pluginsOf(raw), more))), nil
	case len(h.Plugins) == 0:
		return nil, fmt.Errorf("%s: has neither type nor plugins, nor are there any in a directory with the network's name, %q", file, h.Name)
	}
	return raw, nil
}

// readDirectory returns the plugins in the directory of a network. There are none if the
// directory is missing, or if the name is not valid: then it could be anywhere.
func readDirectory(dir fs.FS, network string) (plugins []json.RawMessage, err error) {
	if utils.ValidateNetworkName(network) != nil {
		return nil, nil
	}
	entries, err := fs.ReadDir(dir, network)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() || path.Ext(e.Name()) != ".conf" {
			continue
		}
		file := path.Join(network, e.Name())
		raw, err := fs.ReadFile(dir, file)
		if err != nil {
			return nil, err
		}
		h, err := readHead(file, raw)
		switch {
		case err != nil:
			return nil, err
		case h.Type == "":
			return nil, fmt.Errorf("%s: has no type", file)
		}
		plugins = append(plugins, raw)
	}
	return plugins, nil
}
