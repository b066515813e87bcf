package agentapi

import (
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/cnierror"
)

func TestParseCNIArgs(t *testing.T) {
	pod := Pod{"demo", "p", "u"}
	for args, want := range map[string]Pod{
		"":                {},
		"IgnoreUnknown=1": {},
		"IgnoreUnknown=1;K8S_POD_NAME=My_container":                                                        {}, // podman
		"IgnoreUnknown=1;NERDCTL_CNI_DHCP_HOSTNAME=my-container":                                           {},
		"IgnoreUnknown=1;K8S_POD_NAMESPACE=demo;K8S_POD_NAME=p;K8S_POD_INFRA_CONTAINER_ID=c;K8S_POD_UID=u": pod,
		"K8S_POD_UID=u;K8S_POD_NAME=p;K8S_POD_NAMESPACE=demo;WHAT_ELSE=a=b;":                               pod,
	} {
		got, err := ParseCNIArgs(args)
		assert.NoError(t, err, args)
		assert.Equal(t, want, got, args)
	}
	long := strings.Repeat("a", 64)
	for _, args := range []string{"K8S_POD_NAME", "K8S_POD_NAMESPACE=demo;K8S_POD_UID=u",
		"K8S_POD_NAMESPACE=../demo;K8S_POD_NAME=p", "K8S_POD_NAMESPACE=demo;K8S_POD_NAME=P", "K8S_POD_NAMESPACE=" + long + ";K8S_POD_NAME=p"} {
		_, err := ParseCNIArgs(args)
		assert.EqualValues(t, types.ErrInvalidEnvironmentVariables, cnierror.Code(err), args)
	}
	_, err := ParseCNIArgs("K8S_POD_NAMESPACE=demo;K8S_POD_NAME=a/b")
	require.EqualError(t, err, `CNI_ARGS: K8S_POD_NAME is "a/b", want at most 253 lower-case letters, digits, '-' and '.', as in Kubernetes names`)
}
