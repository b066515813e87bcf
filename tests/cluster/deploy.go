package cluster

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/multibond/multibond/tests/lab"
)

// AgentUser is who the agent is to the API server.
const AgentUser = "system:serviceaccount:multibond-system:multibond-agent"

// Deploy installs Multibond as its users do: kubectl apply -k deploy, with the
// image that make image has made.
func (c *Cluster) Deploy(ctx context.Context) error {
	if err := c.Import(ctx, filepath.Join(lab.Root(), "build", "image.tar")); err != nil {
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

// Events are those of a namespace, for a log.
func (c *Cluster) Events(ctx context.Context, namespace string) string {
	out, err := c.Kubectl(ctx, "", "-n", namespace, "get", "events", "--sort-by=.lastTimestamp")
	if err != nil {
		return err.Error()
	}
	return out
}
