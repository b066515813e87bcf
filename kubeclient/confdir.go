package kubeclient

import (
	"encoding/json"
	"io/fs"

	"github.com/multibond/multibond/delegate"
)

// findConfig returns the configuration of that name on the node, parsed by
// ParseConfig. Its errors are those of delegate.FindConfig and ParseConfig.
func findConfig(dir fs.FS, name string) (json.RawMessage, error) {
	raw, err := delegate.FindConfig(dir, name)
	if err != nil {
		return nil, err
	}
	return ParseConfig(raw, name)
}
