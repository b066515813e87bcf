package agentapi

import (
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/delegate/cnierror"
)

// ParseCNIArgs reads the pod that a container runtime names in CNI_ARGS. It tolerates
// unknown keys, with IgnoreUnknown or without. If CNI_ARGS has no pod's namespace, it
// returns the zero Pod: the caller is not Kubernetes. podman names a container in
// K8S_POD_NAME, by names that Kubernetes does not have. The error's code is 4.
func ParseCNIArgs(args string) (Pod, error) {
	var pod Pod
	known := map[string]*string{
		"K8S_POD_NAMESPACE": &pod.Namespace,
		"K8S_POD_NAME":      &pod.Name,
		"K8S_POD_UID":       &pod.UID,
	}
	for pair := range strings.SplitSeq(args, ";") {
		key, value, is := strings.Cut(pair, "=")
		if !is && strings.TrimSpace(pair) != "" {
			return Pod{}, cnierror.Errorf(types.ErrInvalidEnvironmentVariables, "CNI_ARGS has %q, want KEY=VALUE", pair)
		}
		if into, is := known[strings.TrimSpace(key)]; is {
			*into = value
		}
	}
	switch {
	case pod.Namespace == "":
		return Pod{}, nil
	case pod.Name == "":
		return Pod{}, cnierror.Errorf(types.ErrInvalidEnvironmentVariables, "CNI_ARGS has K8S_POD_NAMESPACE (%q) and no K8S_POD_NAME, want both or none", pod.Namespace)
	}
	for _, one := range []struct {
		key  string
		most int
	}{{"K8S_POD_NAMESPACE", 63}, {"K8S_POD_NAME", 253}} {
		if value := *known[one.key]; !isDNSName(value, one.most) {
			return Pod{}, cnierror.Errorf(types.ErrInvalidEnvironmentVariables, "CNI_ARGS: %s is %.300q, want at most %d lower-case letters, digits, '-' and '.', as in Kubernetes names", one.key, value, one.most)
		}
	}
	return pod, nil
}

// isDNSName reports whether name has the letters and the length that Kubernetes requires
// of names (RFC 1123). The empty name has them.
func isDNSName(name string, most int) bool {
	return len(name) <= most && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") == ""
}
