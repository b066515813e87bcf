package main

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/multibond/multibond/tests/lab"
)

const (
	ownModule     = "github.com/multibond/multibond"
	bondCNIModule = "github.com/intel/bond-cni" // also that of k8snetworkplumbingwg/bond-cni
	sriovModule   = "github.com/k8snetworkplumbingwg/sriov-cni"
)

// versions returns the versions of the programs that Multibond was measured with.
func versions(given programs) (map[string]string, error) {
	all := map[string]string{"go": runtime.Version()}
	delegates, servers := filepath.Join(lab.Dir(), "cni"), filepath.Join(lab.Root(), "build", "cluster", "bin")
	sriov := filepath.Join(delegates, "sriov")
	if given["sriov"] != nil {
		sriov = filepath.Join(binDir, "sriov")
	}
	for program, module := range map[string]string{
		filepath.Join(binDir, "multus"):          "gopkg.in/k8snetworkplumbingwg/multus-cni.v4",
		filepath.Join(binDir, "bond"):            bondCNIModule,
		sriov:                                    sriovModule,
		filepath.Join(delegates, "bridge"):       "github.com/containernetworking/plugins",
		filepath.Join(servers, "kube-apiserver"): "k8s.io/kubernetes",
		filepath.Join(servers, "etcd"):           "go.etcd.io/etcd/server/v3",
	} {
		version, err := versionOf(program, module)
		if errors.Is(err, fs.ErrNotExist) {
			continue // not every part needs every program
		}
		if err != nil {
			return nil, err
		}
		all[filepath.Base(program)] = version
	}
	if given["other-agent"] != nil {
		out, err := exec.Command(filepath.Join(binDir, "other-agent"), "-version").Output()
		if err != nil {
			return nil, fmt.Errorf("the version of the other agent: %w", err)
		}
		all["other"] = strings.TrimSpace(strings.TrimPrefix(string(out), "multibond-agent "))
	}
	return all, nil
}

// versionOf returns the version of a module that a Go program was built from.
func versionOf(program, module string) (string, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return "", err
	}
	version, err := versionIn(info, module)
	if err != nil {
		return "", fmt.Errorf("%s: %w", program, err)
	}
	return version, nil
}

func versionIn(info *buildinfo.BuildInfo, module string) (string, error) {
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == module {
			return m.Version, nil
		}
	}
	return "", fmt.Errorf("the program was built from %s, not from %s", info.Main.Path, module)
}
