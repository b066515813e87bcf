package delegate

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/netconf"
)

// clusterSeeds are configurations of the cluster, each with what the kubelet asks for.
var clusterSeeds = []struct{ name, config, runtime string }{
	{"a NAD, and a list in a string", `{"name": "m", "clusterNetwork": "main", "globalNamespaces": "default, other"}`, `{"portMappings": []}`},
	{"a network with a capability", `{"name": "m", "delegates": [{"type": "x", "capabilities": {"a": true}}]}`, `{"a": 1}`},
	{"a network without anything", `{"name":"0","delegates":[{}]}`, "\xc8"},
	{"a key that is like one of ours, in another case", `{"":"","loBAlNAmspACes":""}`, `0`},
	{"a key that is like none", `{"aaaaaaaaaaa0aaaaaaaaaaaa0aaaaaaaaa":""}`, "{\"\xa6\":[]}"},
	{"an empty key that the kubelet asks for", `{"00":""}`, `{"":[]}`},
	{"numbers", `1`, `00000`},
	{"long numbers", `10000000000000`, `1000000000000`},
	{"half of a number", `0.`, `0`},
	{"a letter, and no end", `A`, `{"":1A`},
	{"a list without an end", `[00`, `0`},
	{"a text without an end", `"\`, `0`},
	{"no JSON, but UTF-8", `М`, `0`},
	{"not UTF-8", "ЌЀ˴\xd0", `0`},
	{"half of a character", "\xf1\x85\xf90", `0`},
	{"another half of a character", "\xf3\x9b\xbd\xdf", `0`},
	{"the kubelet's: a sign", `0`, `-`},
	{"the kubelet's: a form feed", `0`, "\f"},
	{"the kubelet's: a list without an end", `0`, `[`},
	{"the kubelet's: a control character", `0`, "{\x16"},
	{"the kubelet's: a text and a tab", `0`, "\"\"\t"},
	{"the kubelet's: no exponent", `0`, `0e+`},
}

// FuzzParseCluster checks that no text crashes the parser: of the cluster's
// configuration, of a default network's, and of what the kubelet asks for.
func FuzzParseCluster(f *testing.F) {
	for _, s := range clusterSeeds {
		f.Add([]byte(s.config), []byte(s.runtime))
	}
	f.Fuzz(func(t *testing.T, config, runtime []byte) {
		c, err := netconf.ParseCluster(config)
		boundedError(t, config, err)
		var asked map[string]json.RawMessage
		_ = json.Unmarshal(runtime, &asked)
		if err == nil && c.Inline != nil {
			_, _ = netconf.ParseAttachment(agentapi.Attachment{Config: c.Inline}, asked)
		}
		_, err = netconf.ParseAttachment(agentapi.Attachment{Config: config}, asked)
		boundedError(t, slices.Concat(config, runtime), err)
	})
}
