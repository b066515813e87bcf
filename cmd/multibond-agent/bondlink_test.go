package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/record"
)

// ours lists a node on which Multibond serves type bond. kept is the kept program.
func ours(program, kept string) string {
	own := ".multibond-bond 755 " + program + "\n" + "bond 1000000777 " + program + "\n"
	return strings.ReplaceAll(kept+own+installed, "program 1", program)
}

const (
	foreign = "bond 755 bond-cni\n"
	kept    = ".bond.before-multibond 755 bond-cni\n"
)

func (n *nodeDirs) withBondCNI() {
	n.t.Helper()
	name := filepath.Join(n.bin, "bond")
	n.write(name, "bond-cni")
	require.NoError(n.t, os.Chmod(name, 0o755))
}

// TestInstallBond checks that -bond installs the program for type bond if there is
// none, and that later installations update it.
func TestInstallBond(t *testing.T) {
	n := newNodeDirs(t)
	n.install("-bond")
	n.want(ours("program 1", ""), `bond","changed":true`)
	n.write(filepath.Join(n.from, "multibond"), "program 2")
	n.install()
	n.want(ours("program 2", ""), `"changed":true`)
	n.uninstall()
	n.want(before, "uninstalled")
}

// TestInstallBondForeign checks that another program is replaced only on request, and
// restored by uninstall.
func TestInstallBondForeign(t *testing.T) {
	n := newNodeDirs(t)
	n.withBondCNI()
	n.install()
	n.want(foreign+installed, "")
	n.install("-bond")
	n.want(foreign+installed, "the node has another program for type bond, which is kept")
	n.install("-replace-bond")
	n.want(ours("program 1", kept), `"changed":true`)
	n.install("-replace-bond")
	n.want(ours("program 1", kept), `"changed":false`)
	n.uninstall()
	n.want(foreign+before, "uninstalled")
}

// TestInstallBondOverwritten copies bond-cni to bond, and so through the link, like
// the installer of bond-cni. The plugin must stay, and the next installation takes
// type bond back.
func TestInstallBondOverwritten(t *testing.T) {
	n := newNodeDirs(t)
	n.install("-bond")
	n.write(filepath.Join(n.bin, "bond"), "bond-cni")
	got, err := os.ReadFile(filepath.Join(n.bin, "multibond"))
	require.NoError(t, err)
	assert.Equal(t, "program 1", string(got))
	n.install("-bond")
	n.want(ours("program 1", ""), `"changed":true`)
}

// TestUninstallBondWithin checks that a pod whose default network is a bond, made by
// flannel and type bond, needs the plugin for its DEL.
func TestUninstallBondWithin(t *testing.T) {
	n := newNodeDirs(t)
	n.state = record.Store{Dir: n.state}.Within().Dir
	n.withRecord("c1", bond.Spec{Name: "eth0"}, "eth0")
	pods, err := attached(record.Store{Dir: filepath.Dir(n.state)})
	require.NoError(t, err)
	assert.Equal(t, []string{"demo/c1"}, pods)
}
