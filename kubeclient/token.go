package kubeclient

import (
	"encoding/base64"
	"encoding/json"
	"strings"
)

// namesNoNode is the warning about a token that names no node.
const namesNoNode = "the agent's token names no node, so the admission policies refuse everything that the agent publishes " +
	"(Kubernetes 1.32 and newer adds the node; for older ones add the component deploy/without/node-tokens, which leaves the policies out)"

// isNodeless reports whether a pod's token names no node, as before Kubernetes 1.32. The claims
// are those of KEP-4193. What is not a pod's token is not judged.
func isNodeless(token string) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	var claims struct {
		Kubernetes struct {
			Pod, Node struct{ Name string }
		} `json:"kubernetes.io"`
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return false
	}
	return claims.Kubernetes.Pod.Name != "" && claims.Kubernetes.Node.Name == ""
}
