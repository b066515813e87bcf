// multibondctl, installed as kubectl-multibond, shows the bonds of a cluster to its
// operators, and checks what they wrote. It has no rights of its own: it sees what the
// kubeconfig's user sees.
package main

import (
	"log/slog"
	"os"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // whatever a kubeconfig names
	"k8s.io/klog/v2"
)

// releaseVersion is set by the linker.
var releaseVersion = "devel"

func main() {
	// The log of client-go is for programmers. Commands say themselves what they could not do.
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	os.Exit(run(os.Args, streams, time.Now))
}
