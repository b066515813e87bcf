// Package invoke executes CNI plugins, and reads and prints their results.
//
// The caller decides which plugin is executed for what, and what a failure means for the
// attachment.
package invoke

import (
	"context"
	"encoding/json"
	"errors"
	"time"
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
	Timeout     time.Duration // if it is not 0, the plugin gets no more than this
}

// Runner executes CNI plugins.
type Runner interface {
	// Find returns the plugin's program. The error is compatible with
	// errors.Is(err, fs.ErrNotExist).
	Find(plugin string, path []string) (string, error)
	// Start starts the plugin. It returns a function that waits for the plugin's end and
	// returns what the plugin printed. The same goroutine must call that function. If the
	// plugin refused, the error wraps a *types.Error with the plugin's code and words. If
	// the plugin was not there, or could not be executed, the error is compatible with
	// errors.Is(err, ErrNotExecuted).
	Start(ctx context.Context, c Call) (wait func() (json.RawMessage, error))
	// EndOrphans ends what plugins have started in earlier calls for a container, and
	// what outlived them.
	EndOrphans(ctx context.Context, containerID string) error
}

// ErrNotExecuted is returned for a plugin that was not executed and so has done nothing.
var ErrNotExecuted = errors.New("it was not executed")
