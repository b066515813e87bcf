package delegate

import (
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/delegate/cnierror"
)

// PodArgs is what a container runtime says of a pod in CNI_ARGS.
type PodArgs struct {
	Pod            Pod
	InfraContainer string // the sandbox's container ID
}

// ParseCNIArgs reads CNI_ARGS. Keys that nobody here knows are tolerated,
// with IgnoreUnknown or without. Without a pod in it the answer is the zero
// PodArgs: the caller is no Kubernetes. The error's code is 4.
func ParseCNIArgs(args string) (PodArgs, error) {
	var p PodArgs
	known := map[string]*string{
		"K8S_POD_NAMESPACE":          &p.Pod.Namespace,
		"K8S_POD_NAME":               &p.Pod.Name,
		"K8S_POD_UID":                &p.Pod.UID,
		"K8S_POD_INFRA_CONTAINER_ID": &p.InfraContainer,
	}
	for pair := range strings.SplitSeq(args, ";") {
		key, value, is := strings.Cut(pair, "=")
		if !is && strings.TrimSpace(pair) != "" {
			return PodArgs{}, cnierror.Errorf(types.ErrInvalidEnvironmentVariables, "CNI_ARGS: %q is no KEY=VALUE", pair)
		}
		if into, is := known[strings.TrimSpace(key)]; is {
			*into = value
		}
	}
	if (p.Pod.Namespace == "") != (p.Pod.Name == "") {
		return PodArgs{}, cnierror.Errorf(types.ErrInvalidEnvironmentVariables, "CNI_ARGS has one of K8S_POD_NAMESPACE (%q) and K8S_POD_NAME (%q), wanted are both or none", p.Pod.Namespace, p.Pod.Name)
	}
	for _, one := range []struct {
		key  string
		most int
	}{{"K8S_POD_NAMESPACE", 63}, {"K8S_POD_NAME", 253}} {
		if value := *known[one.key]; !isDNSName(value, one.most) {
			return PodArgs{}, cnierror.Errorf(types.ErrInvalidEnvironmentVariables, "CNI_ARGS: %s is %.300q, wanted are at most %d small letters, digits, '-' and '.', as Kubernetes has them", one.key, value, one.most)
		}
	}
	return p, nil
}

// isDNSName says whether name has the letters and the length that Kubernetes
// asks of names (RFC 1123); the empty one has.
func isDNSName(name string, most int) bool {
	return len(name) <= most && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") == ""
}
