package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/multibond/multibond/tests/lab"
)

// AgentUser is who the agent is to the API server.
const AgentUser = "system:serviceaccount:multibond-system:multibond-agent"

// Deploy installs Multibond as its users do: kubectl apply -k deploy, with the
// image that make image has made.
func (c *Cluster) Deploy(ctx context.Context) error {
	if err := c.each(ctx, (*Node).ImportAgent); err != nil {
		return err
	}
	if _, err := c.Kubectl(ctx, "", "apply", "-k", "deploy"); err != nil {
		return err
	}
	_, err := c.Kubectl(ctx, "", "-n", "multibond-system", "rollout", "status", "daemonset/multibond-agent", "--timeout=3m")
	if err != nil {
		logs, _ := c.Kubectl(ctx, "", "-n", "multibond-system", "logs", "daemonset/multibond-agent", "--all-containers", "--tail=20")
		pods, _ := c.Kubectl(ctx, "", "-n", "multibond-system", "describe", "pods")
		return fmt.Errorf("%w\n%s%s", err, pods, logs)
	}
	return nil
}

// ImportAgent has the node's containerd load the image that make image has made.
func (n *Node) ImportAgent(ctx context.Context) error {
	return n.Import(ctx, filepath.Join(lab.Root(), "build", "image.tar"))
}

// DeployComponents installs components of deploy, as keep.
func (c *Cluster) DeployComponents(ctx context.Context, names ...string) error {
	dir := filepath.Join(lab.Root(), "build", "components")
	var kustomization strings.Builder
	kustomization.WriteString("components:\n")
	for _, name := range names {
		fmt.Fprintf(&kustomization, "  - ../../deploy/%s\n", name)
	}
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(kustomization.String()), 0o644)); err != nil {
		return err
	}
	_, err := c.Kubectl(ctx, "", "apply", "-k", dir)
	return err
}

// Events are those of a namespace, for a log.
func (c *Cluster) Events(ctx context.Context, namespace string) string {
	out, err := c.Kubectl(ctx, "", "-n", namespace, "get", "events", "--sort-by=.lastTimestamp")
	if err != nil {
		return err.Error()
	}
	return out
}
