package kubeclient

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"

	"k8s.io/client-go/rest"

	"github.com/multibond/multibond/delegate/agentapi"
)

// namesNoNode is the warning about a token that names no node.
const namesNoNode = "the agent's token names no node, so the admission policies refuse everything that the agent publishes " +
	"(Kubernetes 1.32 and newer adds the node; for older ones add the component deploy/without/node-tokens, which leaves the policies out)"

// podOf returns the pod that a token was made for, and its node, which tokens name since
// Kubernetes 1.32. The claims are those of KEP-4193. Of what is not a pod's token both are
// empty.
func podOf(token string) (pod agentapi.Pod, node nodeRef) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return pod, node
	}
	var claims struct {
		Kubernetes struct {
			Namespace string
			Pod       struct{ Name, UID string }
			Node      nodeRef
		} `json:"kubernetes.io"`
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return pod, node
	}
	is := claims.Kubernetes
	return agentapi.Pod{Namespace: is.Namespace, Name: is.Pod.Name, UID: is.Pod.UID}, is.Node
}

// nodeOf returns the node that the token of a client names now: a token that the kubelet has
// renewed names the Node that there is then.
func nodeOf(config *rest.Config) nodeRef {
	token := config.BearerToken
	if config.BearerTokenFile != "" {
		if now, err := os.ReadFile(config.BearerTokenFile); err == nil {
			token = strings.TrimSpace(string(now))
		}
	}
	_, node := podOf(token)
	return node
}
