//go:build tools

// Package tools pins what tests/chart and make helm build.
package tools

import (
	_ "helm.sh/helm/v4/cmd/helm"
)
