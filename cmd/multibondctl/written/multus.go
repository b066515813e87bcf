package written

import (
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"strings"
)

// multusTypes are the types of Multus, thin and thick.
var multusTypes = []string{"multus", "multus-shim"}

// keptKeys are the keys of Multus's configuration that mean the same here, in the order in
// which they are written.
var keptKeys = []string{
	"capabilities", "clusterNetwork", "delegates", "confDir", "binDir", "defaultNetworks", "namespaceIsolation", "globalNamespaces", "systemNamespaces",
	"multusNamespace", "readinessindicatorfile",
}

// capabilities are those that deploy/config.yaml declares. Multus's daemon took them from the
// default network.
const capabilities = `{"portMappings": true, "bandwidth": true, "dns": true, "ipRanges": true, "ips": true, "mac": true, "aliases": true}`

const logged = "the runtime logs what the plugin says, and the agent logs to its standard error"

// whyDropped tells what takes the place of other keys.
var whyDropped = map[string]string{
	"kubeconfig": "the agent has the right to read, by its own service account, and nodes have no kubeconfig",
	"cniDir":     "Records are in /var/lib/cni/multibond",
	"logFile":    logged, "logLevel": logged, "logToStderr": logged, "logOptions": logged,
	"chrootDir": "the runtime executes the plugin on the host", "daemonSocketDir": "the agent's socket is that of agent", "socketDir": "the agent's socket is that of agent",
	"perNodeCertificate": "the agent's token is bound to its pod", "multusConfigFile": "the ConfigMap has the configuration", "cniConfigDir": "the installer writes into it",
	"multusAutoconfigDir": "the default network's own file is read when it is needed", "multusMasterCNI": "name it by defaultNetwork.name",
	"metricsPort": "the agent has metrics of its own", "retryDeleteOnError": "the kubelet tries again until all is released",
}

// addMultus adds a configuration of Multus, of the plugin or of its daemon.
func (s *Set) addMultus(is Object, text []byte) bool {
	raw, its := clusterIn(text, multusTypes)
	if !its {
		var daemon map[string]json.RawMessage
		if json.Unmarshal(text, &daemon) != nil || daemon["multusAutoconfigDir"] == nil && daemon["daemonSocketDir"] == nil && daemon["socketDir"] == nil {
			return false
		}
		raw = text
	}
	s.multus = append(s.multus, clusterConfig{is, raw})
	return true
}

// migrateMultus makes the ConfigMap of the cluster's configuration.
func (s *Set) migrateMultus(m *Migration) {
	for i, c := range s.multus {
		if i > 0 {
			m.problem(c.Object, "is the second configuration of Multus; a cluster has one")
			continue
		}
		var from map[string]json.RawMessage
		if err := json.Unmarshal(c.raw, &from); err != nil {
			m.problem(c.Object, "%v", err)
			continue
		}
		text := asText(s.clusterOf(m, c.Object, from))
		config := map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": map[string]any{"name": "multibond-cluster", "namespace": s.Agents, "labels": map[string]any{"app.kubernetes.io/name": "multibond"}},
			"data":     map[string]any{"00-multibond.conflist": text},
		}
		m.Changes = append(m.Changes, Change{Object{Place: c.Place, Kind: "ConfigMap", Name: s.Agents + "/multibond-cluster"}, "", asYAML(config)})
		m.unused(c.Kind + " " + c.Name)
	}
}

// clusterOf returns the plugin that takes the place of Multus.
func (s *Set) clusterOf(m *Migration, of Object, from map[string]json.RawMessage) (plugin fields) {
	plugin.set("type", "multibond")
	for _, key := range keptKeys {
		if value, has := from[key]; has {
			plugin.set(key, value)
		}
	}
	if !isCluster(from) {
		dir := textOf(from["multusAutoconfigDir"])
		if dir == "" {
			dir = "/etc/cni/net.d"
		}
		if from["capabilities"] == nil {
			plugin.set("capabilities", json.RawMessage(capabilities))
		}
		plugin.set("defaultNetwork", map[string]string{"confDir": strings.TrimPrefix(dir, "/host"), "name": textOf(from["multusMasterCNI"])})
	}
	standard := []string{"type", "name", "cniVersion", "plugins", "forceCNIVersion", "overrideNetworkName"}
	for _, key := range slices.Sorted(keys(from)) {
		if slices.Contains(keptKeys, key) || slices.Contains(standard, key) {
			continue
		}
		why := whyDropped[key]
		if why == "" {
			why = "it means nothing here"
		}
		m.note(of, "%s: is dropped: %s", key, why)
	}
	return plugin
}

// asText returns the conflist with one plugin.
func asText(plugin fields) string {
	lines := strings.Split(plugin.String(), "\n")
	return "{\n  \"cniVersion\": \"1.0.0\",\n  \"cniVersions\": [\"1.0.0\", \"1.1.0\"],\n  \"name\": \"multibond\",\n  \"plugins\": [\n    " + strings.Join(lines, "\n    ") + "\n  ]\n}\n"
}

func keys[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }
