package kubeclient

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/bond/code"
)

// ResourceAnnotation is the annotation of a NAD that names the resource whose
// devices its network uses.
const ResourceAnnotation = "k8s.v1.cni.cncf.io/resourceName"

// ErrNamespace is returned when a pod names a NAD of a namespace that it may not
// use.
var ErrNamespace = errors.New("namespaces are isolated")

// Network is the network that a reference to a NAD names.
type Network struct {
	Name     types.NamespacedName // without a namespace if it is a file of the node
	Resource string               // empty if the network takes no device
	Config   Config
}

// label returns the name of the network for people: that of its NAD or its own.
func (n Network) label() string { return strings.TrimPrefix(n.Name.String(), "/") }

// IsBond reports whether the network is a bond, which Multibond builds itself. It can be
// the first plugin of a list.
func (n Network) IsBond() bool {
	return len(n.Config.plugins) > 0 && n.Config.plugins[0].isBond()
}

// Resolver finds networks by reference, both those that annotations name and those
// that the links of a bond name. There is no other way to find one.
type Resolver struct {
	Isolated bool     // pods may name NADs of their own namespace and of Global only
	Global   []string // nil means the namespace default

	// LinksOnly says that somebody else has checked what annotations name: only what NADs
	// name is isolated.
	LinksOnly bool

	// NAD returns the NAD of that name. Its error is wrapped. With the error that the
	// configuration is too large it returns the rest of the NAD.
	NAD func(types.NamespacedName) (*nettypes.NetworkAttachmentDefinition, error)

	// ConfDirs have the configurations of the NADs without a spec.config.
	ConfDirs []fs.FS
}

// Resolve returns the network that ref names. from are the namespaces whose NADs may be
// named, in addition to the global ones: those of the pod, wherever the NAD is that names
// another one, so that a NAD cannot extend them.
//
// The error is compatible with errors.Is(err, ErrNamespace) if the namespace is
// forbidden, and with errors.Is(err, fs.ErrNotExist) if neither the NAD nor the
// configuration directory has a configuration. If only the configuration cannot be used,
// the network is returned without it.
func (r Resolver) Resolve(ref types.NamespacedName, from ...string) (Network, error) {
	if !r.allows(ref.Namespace, from) {
		return Network{}, code.With(code.Isolated, fmt.Errorf("network %s: the pod may only use NADs of %s: %w", ref, strings.Join(slices.Concat(from, r.global()), ", "), ErrNamespace))
	}
	n := Network{Name: ref}
	nad, err := r.NAD(ref)
	if nad != nil {
		n.Resource = nad.Annotations[ResourceAnnotation]
	}
	if apierrors.IsNotFound(err) {
		err = code.With(code.NoNAD, err)
	}
	if err != nil {
		return n, fmt.Errorf("network %s: %w", ref, err)
	}
	if strings.TrimSpace(nad.Spec.Config) == "" {
		n.Config, err = findConfig(r.ConfDirs, ref.Name)
	} else if n.Config, err = ParseConfig([]byte(nad.Spec.Config), ref.Name); err != nil {
		err = fmt.Errorf("spec.config: %w", err)
	}
	if err != nil {
		return n, fmt.Errorf("network %s: %w", ref, err)
	}
	return n, nil
}

// fromFile returns the network whose configuration on the node has the name of ref.
// Only the cluster's administrator can name one. missing is the error of the NAD
// that does not exist.
func (r Resolver) fromFile(ref types.NamespacedName, missing error) (Network, error) {
	raw, err := findConfig(r.ConfDirs, ref.Name)
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
