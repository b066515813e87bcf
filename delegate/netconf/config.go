package netconf

import (
	"bytes"
	"encoding/json"
	"maps"
	"strconv"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/multibond/multibond/delegate/strictjson"
)

// Plugin is a CNI plugin and the configuration that it gets on its standard
// input.
type Plugin struct {
	Type   string `json:"type"`
	Config Config `json:"config"`

	// What the list of a link's plugins says. That of a network says it in its own Config.
	DisableCheck Flag `json:"disableCheck,omitempty"`
	DisableGC    Flag `json:"disableGC,omitempty"`
}

// Config is a CNI configuration as a plugin gets it, and those of its fields that
// Multibond uses. They are decoded once, when a Config is made or read. In JSON a Config
// is its text alone.
type Config struct {
	Raw json.RawMessage `json:"-"`

	Type       string
	Name       string
	CNIVersion string
	DNS        types.DNS
	VFSettings
	IPAM          struct{ Type string }
	RuntimeConfig struct{ MAC string }
	Mode          string // of ipvlan
	PrevResult    json.RawMessage
	DisableCheck  Flag
	DisableGC     Flag
}

// Flag is true or false. In JSON it may also be a string that strconv.ParseBool reads, as
// the CNI project's library has it.
type Flag bool

// UnmarshalJSON never fails: what is neither is false.
func (f *Flag) UnmarshalJSON(raw []byte) error {
	is, _ := strconv.ParseBool(strings.Trim(string(raw), `"`))
	*f = Flag(is)
	return nil
}

// IPAM returns the IPAM plugin that the plugin executes itself, with the configuration that
// it hands on. There is none if the name is not that of a plugin.
func (p Plugin) IPAM() (ipam Plugin, there bool) {
	return Plugin{Type: p.Config.IPAM.Type, Config: p.Config}, isPluginName(p.Config.IPAM.Type)
}

// VFSettings are the settings of a VF in a configuration of sriov-cni. A setting
// that is missing stays as it is.
type VFSettings struct {
	MAC       string
	Trust     string
	SpoofChk  string
	LinkState string `json:"link_state"`
	VLAN      *int
	VLANQoS   *int
	VLANProto string // 802.1q, the default, or 802.1ad
	MinRate   *int   `json:"min_tx_rate"` // Mbit/s
	MaxRate   *int   `json:"max_tx_rate"` // Mbit/s
}

// NewConfig decodes a configuration. It ignores a field of the wrong type, because the
// plugin itself reports it.
func NewConfig(raw json.RawMessage) Config {
	type fields Config // without UnmarshalJSON
	var f fields
	_ = json.Unmarshal(raw, &f)
	f.Raw = raw
	return Config(f)
}

// UnmarshalJSON decodes a configuration like NewConfig. It never fails.
func (c *Config) UnmarshalJSON(raw []byte) error {
	*c = NewConfig(bytes.Clone(raw))
	return nil
}

// MarshalJSON returns the text of the configuration.
func (c Config) MarshalJSON() ([]byte, error) { return c.Raw.MarshalJSON() }

// With returns the text of the configuration with more fields. They replace those
// that it has.
func (c Config) With(more map[string]json.RawMessage) json.RawMessage {
	var fields map[string]json.RawMessage
	if json.Unmarshal(c.Raw, &fields) != nil || fields == nil {
		return c.Raw
	}
	maps.Copy(fields, more)
	return strictjson.Encode(fields)
}

// withIPAM returns the configuration with another ipam.
func (c Config) withIPAM(ipam json.RawMessage) Config {
	return NewConfig(c.With(map[string]json.RawMessage{"ipam": ipam}))
}

// HasVersion reports whether the configuration is of this CNI version or a later
// one.
func (c Config) HasVersion(least string) bool {
	later, err := version.GreaterThanOrEqualTo(c.CNIVersion, least)
	return err == nil && later
}
