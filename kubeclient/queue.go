package kubeclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
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
// the agent. While an agent is replaced, two have the same queue.
type queue struct {
	dir   string
	locks *os.File
}

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
	lockFile   = ".lock"

	// maxEvents is the most events that one entry has. If there are more, the oldest
	// are dropped.
	maxEvents = 20
)

// uidForm matches the UID of a pod, which is also the name of its file.
var uidForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z-]{0,63}$`)

// openQueue creates the directory and removes files that were not completed.
func openQueue(dir string) (queue, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return queue{}, fmt.Errorf("state directory: %w", err)
	}
	unfinished, err := filepath.Glob(filepath.Join(dir, "*"+writingEnd))
	if err = errors.Join(err, atomicfile.Files{}.Remove(unfinished...)); err != nil {
		return queue{}, err
	}
	locks, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	return queue{dir, locks}, err
}

// lock locks the entry of a pod, against another agent too, and returns the function that
// unlocks it. Each lock is one byte of a file, and needs a descriptor of its own.
func (q queue) lock(uid string) (unlock func(), err error) {
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", q.locks.Fd()), os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("locking the queue: %w", err)
	}
	if err := lockByte(f, int64(crc32.ChecksumIEEE([]byte(uid)))); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking the queue: %w", err)
	}
	return func() { f.Close() }, nil
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
// older one, and the same event is counted. It returns the merged entry, and what was
// queued before.
func (q queue) add(e entry) (both, before entry, err error) {
	before, err = q.load(e.Pod.UID)
	if err == nil {
		if e.Patch == nil {
			e.Patch = before.Patch
		}
		e.Events = mergeEvents(before.Events, e.Events)
	}
	return e, before, q.save(e)
}

// restore replaces the entry of a pod by one that was queued before, if there was any.
func (q queue) restore(uid string, before entry) error {
	if before.Patch == nil && len(before.Events) == 0 {
		return q.remove(uid)
	}
	return q.save(before)
}

func mergeEvents(old, more []outcome) []outcome {
	out := slices.Clone(old)
	for _, o := range more {
		if i := slices.IndexFunc(out, o.same); i >= 0 {
			out[i].Repeated += 1 + o.Repeated
			continue
		}
		out = append(out, o)
	}
	return out[max(0, len(out)-maxEvents):]
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
