package agentapi

import (
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/cnierror"
)

func TestParseCNIArgs(t *testing.T) {
	pod := Pod{"demo", "p", "u"}
	for args, want := range map[string]Pod{
		"":                {},
		"IgnoreUnknown=1": {},
		"IgnoreUnknown=1;K8S_POD_NAMESPACE=demo;K8S_POD_NAME=p;K8S_POD_INFRA_CONTAINER_ID=c;K8S_POD_UID=u": pod,
		"K8S_POD_UID=u;K8S_POD_NAME=p;K8S_POD_NAMESPACE=demo;WHAT_ELSE=a=b;":                               pod,
	} {
		if got, err := ParseCNIArgs(args); err != nil || got != want {
			t.Errorf("%q: %+v, %v", args, got, err)
		}
	}
	long := strings.Repeat("a", 64)
	for _, args := range []string{"K8S_POD_NAME", "K8S_POD_NAME=p", "K8S_POD_NAMESPACE=demo;K8S_POD_UID=u",
		"K8S_POD_NAMESPACE=../demo;K8S_POD_NAME=p", "K8S_POD_NAMESPACE=demo;K8S_POD_NAME=P", "K8S_POD_NAMESPACE=" + long + ";K8S_POD_NAME=p"} {
		if got, err := ParseCNIArgs(args); cnierror.Code(err) != types.ErrInvalidEnvironmentVariables || got.Name != "" && err == nil {
			t.Errorf("%q: %+v, %v", args, got, err)
		}
	}
	_, err := ParseCNIArgs("K8S_POD_NAMESPACE=demo;K8S_POD_NAME=a/b")
	require.EqualError(t, err, `CNI_ARGS: K8S_POD_NAME is "a/b", wanted are at most 253 small letters, digits, '-' and '.', as Kubernetes has them`)
}
