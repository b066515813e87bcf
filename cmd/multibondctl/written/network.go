package written

import (
	"context"
	"encoding/json"
	"fmt"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/multibond/multibond/kubeclient"
)

// Needs returns how many devices of each resource a pod needs for a network of a cluster. It
// is an error if an ADD would refuse the network, and if a pod needs something else for it.
func Needs(ctx context.Context, config *rest.Config, network types.NamespacedName) (map[string]int, error) {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	judge := kubeclient.Judge{NAD: func(name types.NamespacedName) (*nettypes.NetworkAttachmentDefinition, error) {
		return readNAD(ctx, client, name)
	}}
	nad, err := judge.NAD(network)
	if err != nil {
		return nil, err
	}
	switch judged := judge.One(nad); {
	case judged.Err != nil:
		return nil, fmt.Errorf("network %s would be refused (kubectl multibond validate -A has more): %w", network, judged.Err)
	case judged.Unseen:
		return nil, fmt.Errorf("network %s has no spec.config: what it needs is in a file of each node", network)
	}
	need, err := judge.Need(network)
	if err != nil {
		return nil, err
	}
	out := map[string]int{}
	for _, w := range need.Wants {
		switch {
		case w.Request != "":
			return nil, fmt.Errorf("network %s takes devices of a ResourceClaim (%s), which only a pod of yours has", network, w.Request)
		case w.Resource != "":
			out[w.Resource]++
		}
	}
	return out, nil
}

// Networks returns the names of the NADs of a namespace.
func Networks(ctx context.Context, config *rest.Config, namespace string) (names []string, err error) {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	list, err := client.Resource(nadKind).Namespace(namespace).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return nil, err
	}
	for _, item := range list.Items {
		names = append(names, item.GetName())
	}
	return names, nil
}

func readNAD(ctx context.Context, client dynamic.Interface, name types.NamespacedName) (*nettypes.NetworkAttachmentDefinition, error) {
	item, err := client.Resource(nadKind).Namespace(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("network %s: %w", name, orNoKind(err))
	}
	raw, err := item.MarshalJSON()
	if err != nil {
		return nil, err
	}
	nad := &nettypes.NetworkAttachmentDefinition{}
	return nad, json.Unmarshal(raw, nad)
}
