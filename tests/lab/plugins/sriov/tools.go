//go:build tools

// Package tools pins what tests/lab/setup.sh builds.
package tools

import _ "github.com/k8snetworkplumbingwg/sriov-cni/cmd/sriov"
