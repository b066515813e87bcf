package kubeclient

import (
	"io/fs"

	"github.com/multibond/multibond/delegate/netconf/confdir"
)

// findConfig returns the configuration of that name on the node, parsed by
// ParseConfig. Its errors are those of confdir.Find and ParseConfig.
func findConfig(dir fs.FS, name string) (Config, error) {
	raw, err := confdir.Find(dir, name)
	if err != nil {
		return Config{}, err
	}
	return ParseConfig(raw, name)
}
