package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/netconf/confdir"
	"github.com/multibond/multibond/delegate/record"
)

// putConfig installs the cluster's configuration. Plugins that other installers appended
// to it, as istio-cni's does, stay. Then it notes what it has installed, by which the agent
// recognises it.
func (p place) putConfig(text []byte, log *slog.Logger) error {
	now, err1 := readIfThere(p.config())
	installed, err2 := readIfThere(p.mark())
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	list, others := confdir.WithOthers(text, now, installed)
	if len(others) > 0 {
		log.Info("plugins that other installers appended to the configuration stay", "file", p.config(), "plugins", others)
	}
	if err := put(p.config(), list, 0o600, log); err != nil {
		return err
	}
	_, err := replace(p.mark(), text, 0o600)
	return err
}

func readIfThere(name string) ([]byte, error) {
	data, err := os.ReadFile(name)
	return data, atomicfile.Ignore(fs.ErrNotExist, err)
}

// putNoConfig removes the configuration that an earlier start installed: another meta plugin
// calls Multibond now, and the file would go on sorting first. As long as pods need it for
// their DEL it stays, which is logged and which the agent reports. A file that somebody else
// has written stays, too.
func (p place) putNoConfig(state string, log *slog.Logger) error {
	switch {
	case !isFile(p.mark()) && isFile(p.config()):
		log.Warn("the node has a configuration that this installer has not written; it stays and is used (remove it if another meta plugin is to call Multibond on this node)", "file", p.config())
		return nil
	case !isFile(p.mark()):
		return nil
	}
	if _, err := replace(p.mark(), nil, 0o600); err != nil {
		return err
	}
	if why := inUse(state); isFile(p.config()) && why != "" {
		log.Error("the configuration of an earlier installation stays and is used (delete the pods or drain the node, then restart the agent's pod on this node, which removes the file)", "file", p.config(), "because", why)
		return nil
	}
	if err := errors.Join(atomicfile.Files{}.Remove(p.config(), p.out()), p.removeMarks()); err != nil {
		return err
	}
	log.Info("removed", "file", p.config())
	return atomicfile.Files{}.SyncDir(p.confDir)
}

// inUse returns why the configuration must stay, or "".
func inUse(state string) string {
	if state == "" || !isFile(state) {
		return "it is not known which pods need it, without the plugin's state (-state-dir)"
	}
	pods, err := attached(record.Store{Dir: state})
	switch {
	case err != nil:
		return fmt.Sprintf("the plugin's state cannot be read: %v", err)
	case len(pods) > 0:
		return "pods with additional networks need it: " + strings.Join(pods, ", ")
	}
	return ""
}

// removeMarks removes what the installer and the keeper have noted.
func (p place) removeMarks() error {
	return atomicfile.Files{}.Remove(p.mark(), p.givenUp())
}
