package kubeclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ResourceAnnotation is the annotation of a NAD that names the resource whose
// devices its network takes.
const ResourceAnnotation = "k8s.v1.cni.cncf.io/resourceName"

// ErrNamespace is of a reference to a namespace whose NADs its author may not
// name.
var ErrNamespace = errors.New("namespaces are isolated")

// Network is what a reference to a NAD leads to.
type Network struct {
	Name     types.NamespacedName // without a namespace where it is no NAD's
	Resource string               // "" where the network takes no device
	Config   json.RawMessage      // single or a list, with a name and a cniVersion
}

// label is what people call the network: its NAD, or its own name.
func (n Network) label() string { return strings.TrimPrefix(n.Name.String(), "/") }

// IsBond says that the network is a bond, which Multibond makes itself.
func (n Network) IsBond() bool {
	plugins, isList := pluginTypes(n.Config)
	return !isList && slices.ContainsFunc(plugins, isBond)
}

// Resolver finds networks by reference: those that annotations name and those
// that the links of a bond name. There is no other way to one.
type Resolver struct {
	Isolated bool     // pods may name NADs of their own namespace and of Global
	Global   []string // nil: the namespace default

	// NAD returns the object; its error is kept.
	NAD func(types.NamespacedName) (*nettypes.NetworkAttachmentDefinition, error)

	// ConfDir has the configurations of NADs that have none of their own.
	ConfDir fs.FS
}

// Resolve finds the network that ref names. from are the namespaces whose
// NADs the pod may name beside the global ones; they hold for what a NAD of
// another namespace names in its turn, so that no NAD widens them.
//
// Errors are compatible with errors.Is: ErrNamespace where the namespace is
// forbidden, fs.ErrNotExist where a NAD has no configuration of its own and
// the configuration directory has none either.
func (r Resolver) Resolve(ref types.NamespacedName, from ...string) (Network, error) {
	if !r.allows(ref.Namespace, from) {
		return Network{}, fmt.Errorf("network %s: NADs can be named in %s only: %w", ref, strings.Join(slices.Concat(from, r.global()), ", "), ErrNamespace)
	}
	nad, err := r.NAD(ref)
	if err != nil {
		return Network{}, fmt.Errorf("network %s: %w", ref, err)
	}
	n := Network{Name: ref, Resource: nad.Annotations[ResourceAnnotation]}
	if strings.TrimSpace(nad.Spec.Config) == "" {
		n.Config, err = findConfig(r.ConfDir, ref.Name)
	} else if n.Config, err = ParseConfig([]byte(nad.Spec.Config), ref.Name); err != nil {
		err = fmt.Errorf("spec.config: %w", err)
	}
	if err != nil {
		return Network{}, fmt.Errorf("network %s: %w", ref, err)
	}
	return n, nil
}

// fromFile is the network whose configuration on the node has the name of ref,
// for what the cluster's administrator names. missing says that there is no
// such NAD.
func (r Resolver) fromFile(ref types.NamespacedName, missing error) (Network, error) {
	raw, err := findConfig(r.ConfDir, ref.Name)
	if err != nil {
		return Network{}, errors.Join(missing, err)
	}
	return Network{Name: types.NamespacedName{Name: ref.Name}, Config: raw}, nil
}

func (r Resolver) allows(namespace string, from []string) bool {
	return !r.Isolated || slices.Contains(from, namespace) || slices.Contains(r.global(), namespace)
}

func (r Resolver) global() []string {
	if r.Global == nil {
		return []string{"default"}
	}
	return r.Global
}
