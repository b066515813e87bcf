package kubeclient

import (
	"encoding/json"
	"io/fs"

	"github.com/multibond/multibond/delegate"
)

// findConfig is the node's configuration of that name, read as ParseConfig
// does. Errors are delegate.FindConfig's and ParseConfig's.
func findConfig(dir fs.FS, name string) (json.RawMessage, error) {
	raw, err := delegate.FindConfig(dir, name)
	if err != nil {
		return nil, err
	}
	return ParseConfig(raw, name)
}
