package main

import (
	"runtime"

	"github.com/spf13/cobra"
)

// versionReport is what version prints.
type versionReport struct {
	header
	Version  string `json:"version"`
	Platform string `json:"platform"`
}

func newVersion(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			r := versionNow()
			return e.print(r, func(p *page) { p.line("%s %s", r.Version, r.Platform) })
		},
	}
}

func versionNow() versionReport {
	return versionReport{headerOf("Version"), releaseVersion, runtime.GOOS + "/" + runtime.GOARCH}
}
