// Package invoke executes CNI plugins, and reads and prints their results.
//
// Which plugin is executed for what, and what a failure means for the
// attachment, is decided by who calls it.
package invoke

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/containernetworking/cni/pkg/types"
)

// Call is one execution of a CNI plugin (CNI specification, section 2).
type Call struct {
	Command     string // ADD, DEL, CHECK
	ContainerID string
	Netns       string
	IfName      string
	Args        string   // CNI_ARGS
	Path        []string // CNI_PATH
	Type        string
	Config      json.RawMessage
}

// Runner executes CNI plugins.
type Runner interface {
	// Find returns the plugin's program. The error is compatible with
	// errors.Is(err, fs.ErrNotExist).
	Find(plugin string, path []string) (string, error)
	// Start executes the plugin, beside whatever its caller does meanwhile, and
	// returns what waits for its end and returns what it printed, which the same
	// goroutine has to call. The error of a plugin that refused wraps a
	// *types.Error with the plugin's own code and words; that of one that was not
	// there, or could not be executed, is compatible with errors.Is(err,
	// ErrNotExecuted).
	Start(ctx context.Context, c Call) (wait func() (json.RawMessage, error))
}

// ErrNotExecuted is a plugin that was not executed and so has done nothing.
var ErrNotExecuted = errors.New("it was not executed")

// HadNoEffect reports whether an ADD that failed has surely left nothing: the
// plugin has answered that it failed, which CNI makes it clean up for, or it
// was not executed at all.
func HadNoEffect(err error) bool {
	var said *types.Error
	return errors.As(err, &said) || errors.Is(err, ErrNotExecuted)
}
