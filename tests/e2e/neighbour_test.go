package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/tests/lab"
)

const (
	confDir   = "/etc/cni/net.d/"
	ourConfig = confDir + "00-multibond.conflist"
)

// cilium does what cilium-agent does when it starts, with cni.exclusive, its default: it
// writes its own configuration, here the lab's default network, and renames every other.
func (s *scene) cilium() {
	s.Helper()
	s.on(`cd /etc/cni/net.d && { test -e 05-cilium.conflist || cp 10-default.conflist 05-cilium.conflist; } &&
for file in *.conf *.conflist *.json; do
	case $file in 05-cilium.conflist | \**) ;; *) mv "$file" "$file.cilium_bak" ;; esac
done`)
}

// istio does what istio-cni's installer does: it appends its plugin to a configuration and
// writes it with keys in another order.
func (s *scene) istio(file string) {
	s.Helper()
	var list map[string]any
	require.NoError(s, json.Unmarshal([]byte(s.on("cat "+file)), &list))
	list["plugins"] = append(list["plugins"].([]any), map[string]any{"type": "istio-cni", "log_level": "info"})
	s.on("cat > " + file + ".tmp <<'END' && mv " + file + ".tmp " + file + "\n" + string(encode(list)) + "\nEND")
}

// wantNodeEvent waits for an event of the node whose message has the words.
func (s *scene) wantNodeEvent(reason, words string) {
	s.Helper()
	s.eventually(func() error {
		out := s.kubectl("-n", "default", "get", "events", "--field-selector", "involvedObject.kind=Node,reason="+reason, "-o", `jsonpath={range .items[*]}{.message}{"\n"}{end}`)
		if !strings.Contains(out, words) {
			return fmt.Errorf("events %s of the node have no %q:\n%s", reason, words, out)
		}
		return nil
	})
}

// TestNeighbours has neighbours that do to the runtime's configurations what Cilium and
// Istio do. The agent tells it, the keeper puts our file back, and the mesh's plugin, which
// is in two files, runs once for a pod and survives the next start of the installer.
func TestNeighbours(t *testing.T) {
	s := newScene(t)
	t.Cleanup(func() {
		s.on("cd /etc/cni/net.d && rm -f 05-cilium.conflist 00-multibond.conflist *.tmp && cp /lab/node/default.conflist 10-default.conflist && rm -f *.cilium_bak /opt/cni/bin/istio-cni /run/istio")
		assert.NoError(t, c.Deploy(context.WithoutCancel(t.Context())))
		s.rollout("restart")
	})
	s.cilium()
	s.wantNodeEvent("RuntimeConfigLost", "00-multibond.conflist was renamed to 00-multibond.conflist.cilium_bak: the container runtime takes 05-cilium.conflist")
	s.wantNamed("Cilium's renaming", "doctor", "00-multibond.conflist was renamed to 00-multibond.conflist.cilium_bak")

	overlay := filepath.Join(lab.Root(), "build", "keep")
	const kustomization = "resources: [../../deploy]\ncomponents: [../../deploy/keep-config]\n"
	require.NoError(t, errors.Join(os.MkdirAll(overlay, 0o755), os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte(kustomization), 0o644)))
	s.kubectl("apply", "-k", overlay)
	s.rollout("status")
	s.on("test -e " + ourConfig) // put back by the installer
	s.cilium()
	s.eventually(func() error {
		_, err := c.On(t.Context(), "test", "-e", ourConfig)
		return err
	})

	s.on(`printf '#!/bin/sh\necho "$CNI_COMMAND $CNI_CONTAINERID" >>/run/istio\nexec /opt/cni/bin/tuning\n' >/opt/cni/bin/istio-cni && chmod +x /opt/cni/bin/istio-cni`)
	s.istio(confDir + "05-cilium.conflist") // from before Multibond
	s.istio(ourConfig)
	s.rollout("restart")
	s.apply(bondNAD("bond-net1", "10.56.217.0/24"))
	s.apply(pod("p", "bond-net1@bond0", 1))
	s.ready("p")
	assert.Equal(t, []string{"eth0", "bond0"}, s.interfaces("p"))
	assert.Equal(t, 1, strings.Count(s.on("cat /run/istio"), "ADD "), "ADDs of the mesh's plugin")
	s.remove("p")
	s.wantBefore()
}
