//go:build tools

// Package tools pins what tests/cluster/setup.sh builds beside main.go.
package main

import _ "k8s.io/kubernetes/cmd/kubelet"
