// Package confdir finds configurations in the directory of the runtime, and checks the
// file that shows that networks are ready.
//
// Package netconf reads what a configuration means.
package confdir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf"
)

// metaTypes are the plugins that cannot be a pod's default network: they attach the pod's
// networks themselves, which would then be attached twice.
var metaTypes = []string{"multibond", "multus", "multus-shim"}

// loopback is the plugin of a pod's lo, for which runtimes may have a file of its own.
const loopback = "loopback"

// errNoConfig is returned for a file that has another configuration.
var errNoConfig = errors.New("is another configuration")

// Find returns the configuration with that name in the top of dir. It looks in the
// *.conflist files first, then in *.conf and *.json, by file name. It skips a file that
// cannot be used. If no other file has the configuration, the error names such files and
// is compatible with errors.Is(err, fs.ErrNotExist).
func Find(dir fs.FS, name string) (json.RawMessage, error) {
	files, err := Files(dir)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(files, func(a, b string) int { return isList(b) - isList(a) })
	var broken []string
	for _, file := range files {
		raw, err := readConfig(dir, file, func(c head) bool { return c.Name == name })
		if err == nil {
			return raw, nil
		}
		if !errors.Is(err, errNoConfig) {
			broken = append(broken, err.Error())
		}
	}
	if broken == nil {
		return nil, fmt.Errorf("no file in the configuration directory has the name %s: %w", name, fs.ErrNotExist)
	}
	return nil, fmt.Errorf("no file in the configuration directory has the name %s (these cannot be used: %s): %w", name, strings.Join(broken, "; "), fs.ErrNotExist)
}

func isList(file string) int {
	if path.Ext(file) == ".conflist" {
		return 1
	}
	return 0
}

// first returns the configuration that the runtime would use without meta plugins and
// loopback's. A file before it that cannot be used is an error: it may be the right one,
// half-written, and so may a list without plugins.
func first(dir fs.FS) (json.RawMessage, error) {
	files, err := Files(dir)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		raw, err := readConfig(dir, file, head.isDefault)
		if !errors.Is(err, errNoConfig) {
			return raw, err
		}
	}
	return nil, fmt.Errorf("no file has the configuration of a network: %w", fs.ErrNotExist)
}

// Files lists the files that runtimes read, by name.
func Files(dir fs.FS) (files []string, err error) {
	entries, err := fs.ReadDir(dir, ".")
	if err != nil {
		return nil, fmt.Errorf("the configuration directory: %w", withoutPath(err))
	}
	for _, e := range entries {
		if !e.IsDir() && slices.Contains([]string{".conflist", ".conf", ".json"}, path.Ext(e.Name())) {
			files = append(files, e.Name())
		}
	}
	return files, nil
}

// withoutPath returns an error about the directory itself without its path, which is
// "." in an fs.FS: the caller knows the real one.
func withoutPath(err error) error {
	if in, is := errors.AsType[*fs.PathError](err); is {
		return in.Err
	}
	return err
}

// DefaultNetwork returns the configuration of the default network, or nil if only the
// agent knows it. It reads the file each time, because it may change. The error's code is
// 11 if the file is missing or incomplete.
func DefaultNetwork(c netconf.Cluster) (json.RawMessage, error) {
	if c.Cluster.Network != "" || c.Inline != nil {
		return c.Inline, nil
	}
	where := c.ConfDir
	raw, err := fromFile(c)
	if c.File != "" {
		where = c.File
	}
	if err != nil {
		return nil, cnierror.Errorf(types.ErrTryAgainLater, "the default network in %s: %w (the cluster's network plugin writes it when it is installed)", where, err)
	}
	return raw, nil
}

func fromFile(c netconf.Cluster) (json.RawMessage, error) {
	if c.File == "" {
		dir := os.DirFS(c.ConfDir)
		if c.DefaultName != "" {
			return Find(dir, c.DefaultName)
		}
		return first(dir)
	}
	st, err := os.Stat(c.File)
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		return first(os.DirFS(c.File))
	}
	return readConfig(os.DirFS(filepath.Dir(c.File)), filepath.Base(c.File), func(head) bool { return true })
}

// CheckReady returns an error with code 11 until networks can be made
// (readinessindicatorfile).
func CheckReady(c netconf.Cluster) error {
	if c.ReadyFile == "" {
		return nil
	}
	if _, err := os.Stat(c.ReadyFile); err != nil {
		return cnierror.Errorf(types.ErrTryAgainLater, "readinessindicatorfile: %w (the cluster's network plugin creates it when it is ready)", err)
	}
	return nil
}
