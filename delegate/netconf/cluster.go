package netconf

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/strictjson"
)

// DefaultAgent is the socket of the agent if a configuration names none.
const DefaultAgent = "/run/multibond/agent.sock"

// DefaultConfDir is the directory of CNI configurations if a configuration names none.
const DefaultConfDir = "/etc/cni/net.d"

// Cluster is the cluster's configuration, from which a pod gets its default network and
// all others.
type Cluster struct {
	CNIVersion string
	Name       string
	Agent      string           // the agent's socket
	Cluster    agentapi.Cluster // what the agent bases its answers on

	// The default network, unless only the agent knows it: DefaultName in ConfDir
	// ("" means the first one there), File (a file or a directory), or Inline.
	ConfDir     string
	DefaultName string
	File        string
	Inline      json.RawMessage

	BinDir        string                     // searched after CNI_PATH
	ReadyFile     string                     // until it exists, there are no networks
	RuntimeConfig map[string]json.RawMessage // what the kubelet asks for
	Valid         []GCAttachment             // as in Network
	Warnings      bond.Problems
}

// defaultKeys are the keys that name the default network. One of them makes a
// configuration the cluster's.
var defaultKeys = []string{"defaultNetwork", "clusterNetwork", "delegates"}

// clusterKeys are the keys of a cluster configuration. All but defaultNetwork, agent and
// strict are also Multus's.
var clusterKeys = slices.Concat(defaultKeys, []string{
	"cniVersion", "cniVersions", "name", "type", "agent", "strict", "confDir", "binDir", "namespaceIsolation", "globalNamespaces", "systemNamespaces",
	"multusNamespace", "defaultNetworks", "readinessindicatorfile", "capabilities", "runtimeConfig", "args", "prevResult",
	"disableCheck", "disableGC", ValidKey, AttachmentsKey,
})

// multusKeys are the other keys of Multus, thin and thick. They mean nothing here, and
// resemble none of ours by mistake.
var multusKeys = []string{
	"kubeconfig", "cniDir", "logFile", "logLevel", "logToStderr", "logOptions", "retryDeleteOnError", "auxiliaryCNIChainName", "perNodeCertificate",
	"daemonSocketDir", "socketDir", "chrootDir", "metricsPort", "cniConfigDir", "multusConfigFile", "multusAutoconfigDir", "multusMasterCNI",
	"forceCNIVersion", "overrideNetworkName", "ipam", "dns",
}

// ParseCluster reads the cluster's configuration. All problems are returned at once,
// each with its path. The error's code is 6 if raw is not JSON, and 7 if something in it
// is wrong.
func ParseCluster(raw []byte) (Cluster, error) {
	fields, err := decodeTop(raw)
	if err != nil {
		return Cluster{}, err
	}
	return readCluster(fields)
}

func readCluster(fields map[string]json.RawMessage) (Cluster, error) {
	var problems bond.Problems
	fields, strays := withoutStrays(fields)
	top := strictjson.Object{Fields: fields, Problems: &problems}
	runtime, _ := top.Object("runtimeConfig")
	d := readDefault(top)
	c := Cluster{
		CNIVersion: top.Text("cniVersion"), Name: top.Text("name"), Agent: cmp.Or(top.Text("agent"), DefaultAgent),
		ConfDir: d.confDir, DefaultName: d.name, File: d.file, Inline: d.inline, Cluster: readLookup(top, d.nad),
		BinDir: top.Text("binDir"), ReadyFile: top.Text("readinessindicatorfile"), RuntimeConfig: runtime.Fields, Valid: readValid(top),
	}
	if c.Name == "" {
		problems.Add(code.NoName, "name", "", "is missing")
	}
	for _, path := range [][2]string{{"agent", c.Agent}, {"confDir", c.ConfDir}, {"binDir", c.BinDir}, {"readinessindicatorfile", c.ReadyFile}} {
		if path[1] != "" && !strings.HasPrefix(path[1], "/") {
			problems.Add(code.NotAbsolute, path[0], "", "is %q, want an absolute path", path[1])
		}
	}
	if others := append(top.Unknown(clusterKeys), strays...); len(others) > 0 {
		for _, key := range others {
			if hint := strictjson.DidYouMean(key, clusterKeys); !slices.Contains(strays, key) && hint != "" && !slices.Contains(multusKeys, key) {
				problems.Add(code.UnknownKey, key, hint, "is not a known key")
			}
		}
		c.Warnings.Add(code.IgnoredKeys, "", "", "these keys are ignored: %s", strings.Join(others, ", "))
	}
	if err := problems.Err(); err != nil {
		return c, cnierror.With(types.ErrInvalidNetworkConfig, fmt.Errorf("network %s: %w", c.Name, err))
	}
	return c, nil
}

// withoutStrays returns the fields without an empty list as defaultNetwork, which files of
// Multus have: it is a misspelt defaultNetworks that says nothing.
func withoutStrays(fields map[string]json.RawMessage) (rest map[string]json.RawMessage, strays []string) {
	const key = "defaultNetwork"
	var list []json.RawMessage
	if err := json.Unmarshal(fields[key], &list); err != nil || list == nil || len(list) > 0 {
		return fields, nil
	}
	rest = maps.Clone(fields)
	delete(rest, key)
	return rest, []string{key}
}

// defaultNetwork is the network that every pod has: a NAD, a configuration in confDir
// by its name, a file, or a configuration.
type defaultNetwork struct {
	nad, confDir, name, file string
	inline                   json.RawMessage
}

// readDefault reads the default network, which one of defaultKeys has.
func readDefault(top strictjson.Object) defaultNetwork {
	given := slices.DeleteFunc(slices.Clone(defaultKeys), func(key string) bool { return !top.Has(key) })
	if len(given) != 1 {
		top.Problems.Add(code.DefaultNetworks, "", "leave out all but one", "has %d default networks, want one: %s", len(given), strings.Join(given, ", "))
	}
	d := defaultNetwork{nad: top.Text("clusterNetwork"), confDir: top.Text("confDir")}
	if own, there := top.Object("defaultNetwork"); there {
		known := []string{"confDir", "name"}
		for _, key := range own.Unknown(known) {
			top.Problems.Add(code.UnknownKey, own.At(key), strictjson.DidYouMean(key, known), "is not a known key")
		}
		if own.Has("confDir") {
			d.confDir = own.Text("confDir")
		}
		d.name = own.Text("name")
	}
	d.confDir = cmp.Or(d.confDir, DefaultConfDir)
	if strings.HasPrefix(d.nad, "/") {
		d.file, d.nad = d.nad, ""
	}
	if delegates := top.Each("delegates"); len(delegates) == 1 {
		d.inline = strictjson.Encode(delegates[0].Fields)
	} else if top.Has("delegates") {
		top.Problems.Add(code.DefaultNetworks, "delegates", "use defaultNetworks for additional networks of every pod", "has %d networks, want only the default network", len(delegates))
	}
	return d
}

// readLookup reads what the agent needs to find the networks of a pod. defaultNAD is
// the NAD of the default network, "" if it is none.
func readLookup(top strictjson.Object, defaultNAD string) agentapi.Cluster {
	c := agentapi.Cluster{
		Network: defaultNAD, Isolated: top.Bool("namespaceIsolation"), Namespace: top.Text("multusNamespace"), Strict: top.Bool("strict"), ConfDir: top.Text("confDir"),
		Global: namespaces(top, "globalNamespaces"), System: namespaces(top, "systemNamespaces"),
	}
	top.Read("defaultNetworks", &c.Defaults, "a list of names")
	for i, name := range c.Defaults {
		if strings.HasPrefix(name, "/") || name == "" {
			top.Problems.Add(code.ClusterNetwork, fmt.Sprintf("defaultNetworks[%d]", i), "make it a NAD, or use the name that its file has", "is %q, want the name of a NAD, or of a configuration in confDir", name)
		}
	}
	return c
}

// ParseIsolation reads how a configuration of Multus isolates namespaces: whether it does, and
// the namespaces whose NADs all pods may name, nil if it does not say.
func ParseIsolation(raw []byte) (isolated bool, global []string, err error) {
	fields, err := decodeTop(raw)
	if err != nil {
		return false, nil, err
	}
	var problems bond.Problems
	top := strictjson.Object{Fields: fields, Problems: &problems}
	isolated, global = top.Bool("namespaceIsolation"), namespaces(top, "globalNamespaces")
	return isolated, global, problems.Err()
}

// namespaces reads a list, or a string of namespaces with commas, which is how Multus
// has one of them.
func namespaces(top strictjson.Object, key string) (list []string) {
	var text string
	if top.Has(key) && lenient(top.Fields).Read(key, &text, "") {
		for word := range strings.SplitSeq(text, ",") {
			if word = strings.TrimSpace(word); word != "" {
				list = append(list, word)
			}
		}
		return list
	}
	top.Read(key, &list, "a list of namespaces")
	return list
}

// SearchPath returns path, which is CNI_PATH, followed by BinDir.
func (c Cluster) SearchPath(path []string) []string {
	if c.BinDir == "" || slices.Contains(path, c.BinDir) {
		return path
	}
	return append(slices.Clone(path), c.BinDir)
}
