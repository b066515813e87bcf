package kubeclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/strictjson"
)

// queue is a directory with what is not published yet, one file per pod. It survives
// the agent.
type queue struct{ dir string }

// entryVersion is the version of the format on disk.
const entryVersion = 1

// entry is what is not published yet of one pod.
type entry struct {
	Version int             `json:"version"`
	Pod     agentapi.Pod    `json:"pod"`
	Patch   json.RawMessage `json:"patch,omitempty"` // of the pod's status
	Events  []outcome       `json:"events,omitempty"`
}

const (
	entryEnd   = ".json"
	writingEnd = ".new"
)

// uidForm matches the UID of a pod, which is also the name of its file.
var uidForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z-]{0,63}$`)

// openQueue creates the directory and removes files that were not completed.
func openQueue(dir string) (queue, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return queue{}, fmt.Errorf("state directory: %w", err)
	}
	unfinished, err := filepath.Glob(filepath.Join(dir, "*"+writingEnd))
	return queue{dir}, errors.Join(err, atomicfile.Files{}.Remove(unfinished...))
}

func (q queue) file(uid string) string { return filepath.Join(q.dir, uid+entryEnd) }

// load reads the entry of a pod. The error is compatible with errors.Is(err,
// fs.ErrNotExist) if there is none.
func (q queue) load(uid string) (entry, error) {
	raw, err := os.ReadFile(q.file(uid))
	if err != nil {
		return entry{}, err
	}
	var e entry
	if err := json.Unmarshal(raw, &e); err != nil {
		return entry{}, fmt.Errorf("%s: %w", q.file(uid), err)
	}
	if e.Version != entryVersion || e.Pod.UID != uid {
		return entry{}, fmt.Errorf("%s: has version %d and UID %q, want version %d and the UID in the name of the file", q.file(uid), e.Version, e.Pod.UID, entryVersion)
	}
	return e, nil
}

// add merges an entry with what is queued for its pod: the newer status replaces the
// older one, and all events stay. It returns the merged entry.
func (q queue) add(e entry) (entry, error) {
	old, err := q.load(e.Pod.UID)
	if err == nil {
		if e.Patch == nil {
			e.Patch = old.Patch
		}
		e.Events = append(old.Events, e.Events...)
	}
	return e, q.save(e)
}

// save writes an entry atomically and syncs it to disk.
func (q queue) save(e entry) error {
	e.Version = entryVersion
	return atomicfile.Files{}.ReplaceSynced(q.file(e.Pod.UID), "*"+writingEnd, strictjson.Encode(e), 0o600)
}

// remove removes an entry, if there is one.
func (q queue) remove(uid string) error { return atomicfile.Files{}.Remove(q.file(uid)) }

// list returns the UIDs of the pods that have an entry, sorted.
func (q queue) list() ([]string, error) {
	entries, err := os.ReadDir(q.dir)
	var uids []string
	for _, e := range entries {
		if uid, is := strings.CutSuffix(e.Name(), entryEnd); is {
			uids = append(uids, uid)
		}
	}
	slices.Sort(uids)
	return uids, err
}

// length returns the number of pods that have an entry.
func (q queue) length() int {
	uids, _ := q.list()
	return len(uids)
}
