//go:build tools

// Package tools pins what tests/cluster/setup.sh builds.
package tools

import (
	_ "github.com/k8snetworkplumbingwg/sriov-network-device-plugin/cmd/sriovdp"
)
