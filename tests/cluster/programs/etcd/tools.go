//go:build tools

// Package tools pins what tests/cluster/setup.sh builds.
package tools

import (
	_ "go.etcd.io/etcd/server/v3"
)
