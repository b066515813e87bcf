package kubeclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// findConfig looks in the top of dir for the configuration of that name: in
// the *.conflist files first, then in *.conf and *.json, by file name. A file
// that cannot be read or parsed is passed over, and named where no other file
// has the configuration. The error is compatible with
// errors.Is(err, fs.ErrNotExist) where there is none.
func findConfig(dir fs.FS, name string) (json.RawMessage, error) {
	entries, err := fs.ReadDir(dir, ".")
	if err != nil {
		return nil, err
	}
	var broken []error
	for _, extensions := range [][]string{{".conflist"}, {".conf", ".json"}} {
		for _, e := range entries {
			if e.IsDir() || !slices.Contains(extensions, path.Ext(e.Name())) {
				continue
			}
			config, err := readConfig(dir, e.Name(), name)
			if err == nil {
				return config, nil
			}
			if !errors.Is(err, errOtherName) {
				broken = append(broken, err)
			}
		}
	}
	return nil, notFound(name, broken)
}

var errOtherName = errors.New("has another name")

// readConfig reads one file where it has that name.
func readConfig(dir fs.FS, file, name string) (json.RawMessage, error) {
	raw, err := fs.ReadFile(dir, file)
	if err != nil {
		return nil, err
	}
	var head struct{ Name string }
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if head.Name != name {
		return nil, errOtherName
	}
	config, err := ParseConfig(raw, name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return config, nil
}

func notFound(name string, broken []error) error {
	if len(broken) == 0 {
		return fmt.Errorf("no file of the configuration directory has the name %s: %w", name, fs.ErrNotExist)
	}
	var words []string
	for _, err := range broken {
		words = append(words, err.Error())
	}
	return fmt.Errorf("no file of the configuration directory has the name %s (%s could not be used): %w", name, strings.Join(words, "; "), fs.ErrNotExist)
}
