//go:build lab

package main

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestNoRoot checks the message for people who try the plugin by hand without root.
func TestNoRoot(t *testing.T) {
	cmd := exec.Command(plugin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Dir = "/"
	cmd.Env = []string{"CNI_COMMAND=ADD", "CNI_CONTAINERID=c1", "CNI_NETNS=/run/netns/p1", "CNI_IFNAME=bond0", "CNI_PATH=/opt/cni/bin"}
	cmd.Stdin = strings.NewReader(`{"cniVersion": "1.0.0", "name": "net1", "links": [{"deviceID": "0000:01:10.0"}, {"deviceID": "0000:02:10.0"}]}`)
	out, err := cmd.Output()
	const want = `{
    "code": 4,
    "msg": "multibond runs as user 65534, but needs root, as container runtimes execute it"
}`
	assert.Error(t, err)
	assert.Equal(t, want, string(out))
}
