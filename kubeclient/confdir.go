package kubeclient

import (
	"io/fs"

	"github.com/multibond/multibond/delegate/netconf/confdir"
)

// findConfig returns the configuration of that name in the first directory that has it,
// parsed by ParseConfig. Its errors are those of confdir.Find and ParseConfig.
func findConfig(dirs []fs.FS, name string) (Config, error) {
	var errs []error
	for _, dir := range dirs {
		raw, err := confdir.Find(dir, name)
		if err == nil {
			return ParseConfig(raw, name)
		}
		errs = append(errs, err)
	}
	return Config{}, join(errs...)
}
