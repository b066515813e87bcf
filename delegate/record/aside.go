package record

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/plan"
)

// asideDir has the Records that were set aside, each under the name that its file had and
// the time of its ADD: a container that is attached again has the same name.
const (
	asideDir  = "aside"
	asideTime = "20060102T150405.000000000Z"
)

// SetAside keeps a Record whose restoring was given up. The Record holds no device any
// more, and List does not have it. The caller holds locks on the devices.
func (s Store) SetAside(r *Record) error {
	if r.Aside != "" {
		return s.Update(r)
	}
	r.LetGo = s.heldByOthers(r)
	file := s.File(r.Plan.Key())
	if err := s.write(r, func(data []byte) error { return s.replaceSynced(file, data) }); err != nil {
		return err
	}
	dir := filepath.Join(s.Dir, asideDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	aside := filepath.Join(dir, r.Plan.Key().String()+"."+r.Created.UTC().Format(asideTime)+recordEnd)
	if err := errors.Join(s.release(r, r.Plan.Devices()), s.Files.Rename(file, aside), s.Files.SyncDir(dir)); err != nil {
		return fmt.Errorf("record of %s: setting it aside: %w", r.Plan.Key(), err)
	}
	r.Aside = aside
	return s.Forget(r.Plan.Key())
}

// heldByOthers returns the links of a Record whose devices another Record has: this one has
// let go of them, and was killed before it was removed.
func (s Store) heldByOthers(r *Record) (links []string) {
	for _, l := range r.Plan.Links {
		if holder, err := s.Holder(l.Holds()); err == nil && holder != (plan.Key{}) && holder != r.Plan.Key() {
			links = append(links, l.Name)
		}
	}
	return links
}

// ListAside returns the Records that were set aside, the newest first: so that what one
// has found is restored before what an earlier one has found. The error names those that
// cannot be read.
func (s Store) ListAside() ([]*Record, error) {
	dir := filepath.Join(s.Dir, asideDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, atomicfile.Ignore(fs.ErrNotExist, err)
	}
	var recs []*Record
	var errs []error
	for _, e := range entries {
		id, rest, _ := strings.Cut(e.Name(), ":")
		ifName, is := strings.CutSuffix(rest, recordEnd)
		if !is || len(ifName) <= len(asideTime) {
			continue
		}
		k := plan.Key{ContainerID: id, IfName: ifName[:len(ifName)-len(asideTime)-1]}
		file := filepath.Join(dir, e.Name())
		r, err := read(file, k)
		if err != nil {
			errs = append(errs, fmt.Errorf("%w (%s)", err, file))
			continue
		}
		r.Aside = file
		recs = append(recs, r)
	}
	slices.SortFunc(recs, func(a, b *Record) int {
		return cmp.Or(b.Created.Compare(a.Created), strings.Compare(a.Aside, b.Aside))
	})
	return recs, errors.Join(errs...)
}

// Find returns a Record for people: the one of k or, if there is none, one that was set
// aside of its container. notes names the container's Records that were set aside, with
// what was given up, and the copies of damaged ones.
func (s Store) Find(k plan.Key) (found *Record, notes []string, err error) {
	all, unreadable := s.ListAside()
	if unreadable != nil {
		notes = append(notes, unreadable.Error())
	}
	for _, r := range all {
		if r.Plan.ContainerID != k.ContainerID {
			continue
		}
		what := "given up and set aside"
		if r.IsEarly() {
			what = "set aside and tried again"
		}
		notes = append(notes, fmt.Sprintf("%s as %s: %s", what, r.Aside, r.Left))
		if found == nil || found.Plan.Key() != k {
			found = r
		}
	}
	damaged, err := filepath.Glob(filepath.Join(s.Dir, k.ContainerID+":*"+recordEnd+damagedEnd))
	for _, file := range damaged {
		notes = append(notes, "damaged and kept as "+file)
	}
	r, missing := s.Load(k)
	if found == nil || !errors.Is(missing, fs.ErrNotExist) {
		found, err = r, errors.Join(err, missing)
	}
	return found, notes, err
}
