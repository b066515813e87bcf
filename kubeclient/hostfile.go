package kubeclient

import (
	"os"
	"path/filepath"
	"reflect"

	"github.com/multibond/multibond/delegate/agentapi"
)

// writtenHosts is the file for keep, as this agent has found or written it.
type writtenHosts struct {
	hosts agentapi.Hosts
	file  os.FileInfo // nil: not known
}

// writeFile writes the hosts for keep, if they have changed and this one has a number.
func (h *hosts) writeFile() error {
	index, has := h.held(h.self())
	if !has {
		return nil
	}
	now := agentapi.Hosts{Self: agentapi.Self{Index: index, Node: h.node}, Hosts: []agentapi.PeerHost{}}
	others, greedy := h.others()
	for _, p := range others {
		if p.err != nil {
			h.log.Warn("a host does not tell its addresses", "lease", leaseName(p.Index), "node", p.Node, "error", p.err)
		}
		now.Hosts = append(now.Hosts, p.PeerHost)
	}
	for _, node := range greedy {
		h.log.Warn("a host has so many numbers that there are no routes to it (kubectl get leases; look at its agent, then delete them)", "node", node, "most", maxNumbers)
	}
	return h.written.become(h.file, now)
}

// replaced reports whether the file is not the one that this agent has found or written: an
// agent of another release writes it as well, during an update.
func (w *writtenHosts) replaced(name string) bool {
	file, err := os.Stat(name)
	return err != nil || w.file == nil || !os.SameFile(file, w.file)
}

// become writes the file, if it is not that already.
func (w *writtenHosts) become(name string, now agentapi.Hosts) error {
	if w.replaced(name) {
		w.hosts, _ = agentapi.ReadHosts(name) // what cannot be read is written anew
	}
	if !reflect.DeepEqual(w.hosts, now) {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		if err := now.Write(name); err != nil {
			return err
		}
	}
	w.hosts = now
	var err error
	w.file, err = os.Stat(name)
	return err
}
