package netconf

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/strictjson"
)

// DefaultAgent is the socket of the agent where a configuration names none.
const DefaultAgent = "/run/multibond/agent.sock"

// DefaultConfDir is the directory of CNI configurations where none is named.
const DefaultConfDir = "/etc/cni/net.d"

// Cluster is the cluster's configuration, by which a pod gets its
// default network and all others.
type Cluster struct {
	CNIVersion string
	Name       string
	Agent      string           // the agent's socket
	Cluster    agentapi.Cluster // what the agent answers by

	// The default network where the plugin knows it: by name in ConfDir ("" is
	// the first there), by File (a file or a directory), or whole.
	ConfDir     string
	DefaultName string
	File        string
	Inline      json.RawMessage

	BinDir        string // searched after CNI_PATH
	ReadyFile     string // as long as it is not there, no network is
	RuntimeConfig json.RawMessage
	Valid         []GCAttachment // as in Network
	Warnings      []string
}

// clusterKeys are the keys of a cluster configuration, those of them that make
// it one first. Beside defaultNetwork and agent they are Multus's.
var clusterKeys = []string{
	"defaultNetwork", "clusterNetwork", "delegates",
	"cniVersion", "cniVersions", "name", "type", "agent", "confDir", "binDir", "namespaceIsolation", "globalNamespaces", "systemNamespaces",
	"multusNamespace", "defaultNetworks", "readinessindicatorfile", "capabilities", "runtimeConfig", "args", "prevResult",
	"disableCheck", "disableGC", ValidKey, AttachmentsKey,
}

// IsCluster tells the cluster's configuration from that of one network. The
// error says, of one that is neither, what each is missing; its code is 7, or
// 6 where raw is no JSON.
func IsCluster(raw []byte) (bool, error) {
	fields, err := decodeTop(raw)
	if err != nil {
		return false, err
	}
	if _, is := fields["links"]; is {
		return false, nil
	}
	for _, key := range clusterKeys[:3] {
		if _, is := fields[key]; is {
			return true, nil
		}
	}
	return false, cnierror.Errorf(types.ErrInvalidNetworkConfig, `the configuration has neither links, which a bond network has, nor defaultNetwork (or Multus's clusterNetwork or delegates), which the cluster's configuration has`)
}

// ParseCluster reads the cluster's configuration. All problems are returned at
// once, each with its path. The error's code is 6 where raw is no JSON, 7
// where it says something wrong.
func ParseCluster(raw []byte) (Cluster, error) {
	fields, err := decodeTop(raw)
	if err != nil {
		return Cluster{}, err
	}
	var problems bond.Problems
	top := strictjson.Object{Fields: fields, Problems: &problems}
	c := Cluster{
		CNIVersion: top.Text("cniVersion"), Name: top.Text("name"), Agent: top.Text("agent"), ConfDir: top.Text("confDir"),
		BinDir: top.Text("binDir"), ReadyFile: top.Text("readinessindicatorfile"), Valid: readValid(top),
	}
	if c.Name == "" {
		problems.Add("name", "", "is missing")
	}
	if c.Agent == "" {
		c.Agent = DefaultAgent
	}
	if runtime, there := top.Object("runtimeConfig"); there {
		c.RuntimeConfig = strictjson.Encode(runtime.Fields)
	}
	c.readDefault(top)
	c.readLookup(top)
	for _, path := range [][2]string{{"agent", c.Agent}, {"confDir", c.ConfDir}, {"binDir", c.BinDir}, {"readinessindicatorfile", c.ReadyFile}} {
		if path[1] != "" && !strings.HasPrefix(path[1], "/") {
			problems.Add(path[0], "", "is %q, wanted is an absolute path", path[1])
		}
	}
	if others := top.Unknown(clusterKeys); len(others) > 0 {
		for _, key := range others {
			if hint := strictjson.DidYouMean(key, clusterKeys); hint != "" {
				problems.Add(key, hint, "is not known")
			}
		}
		c.Warnings = append(c.Warnings, fmt.Sprintf("network %s: ignored: %s", c.Name, strings.Join(others, ", ")))
	}
	if err := problems.Err(); err != nil {
		return c, cnierror.With(types.ErrInvalidNetworkConfig, fmt.Errorf("network %s: %w", c.Name, err))
	}
	return c, nil
}

// readDefault reads which network every pod has: one of three keys says so.
func (c *Cluster) readDefault(top strictjson.Object) {
	given := slices.DeleteFunc(slices.Clone(clusterKeys[:3]), func(key string) bool { return !top.Has(key) })
	if len(given) != 1 {
		top.Problems.Add("", "leave all but one out", "has %d default networks: %s", len(given), strings.Join(given, ", "))
	}
	if own, there := top.Object("defaultNetwork"); there {
		for _, key := range own.Unknown([]string{"confDir", "name"}) {
			top.Problems.Add(own.At(key), strictjson.DidYouMean(key, []string{"confDir", "name"}), "is not known")
		}
		if own.Has("confDir") {
			c.ConfDir = own.Text("confDir")
		}
		c.DefaultName = own.Text("name")
	}
	if c.ConfDir == "" {
		c.ConfDir = DefaultConfDir
	}
	if c.Cluster.Network = top.Text("clusterNetwork"); strings.HasPrefix(c.Cluster.Network, "/") {
		c.File, c.Cluster.Network = c.Cluster.Network, ""
	}
	if delegates := top.Each("delegates"); len(delegates) == 1 {
		c.Inline = strictjson.Encode(delegates[0].Fields)
	} else if top.Has("delegates") {
		top.Problems.Add("delegates", "what every pod gets besides belongs into defaultNetworks", "has %d networks, wanted is the one default network", len(delegates))
	}
}

func (c *Cluster) readLookup(top strictjson.Object) {
	c.Cluster.Isolated, c.Cluster.Namespace = top.Bool("namespaceIsolation"), top.Text("multusNamespace")
	c.Cluster.Global = namespaces(top, "globalNamespaces")
	c.Cluster.System = namespaces(top, "systemNamespaces")
	top.Read("defaultNetworks", &c.Cluster.Defaults, "a list of names")
	for i, name := range c.Cluster.Defaults {
		if strings.HasPrefix(name, "/") || name == "" {
			top.Problems.Add(fmt.Sprintf("defaultNetworks[%d]", i), "make a NAD of it, or name it as its file does", "is %q, wanted is the name of a NAD, or of a configuration in confDir", name)
		}
	}
}

// namespaces reads a list, or the words of a string between commas, which is
// how Multus has one of them.
func namespaces(top strictjson.Object, key string) (list []string) {
	var text string
	if top.Has(key) && json.Unmarshal(top.Fields[key], &text) == nil {
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

// SearchPath is CNI_PATH, and binDir after it.
func (c Cluster) SearchPath(path []string) []string {
	if c.BinDir == "" || slices.Contains(path, c.BinDir) {
		return path
	}
	return append(slices.Clone(path), c.BinDir)
}
