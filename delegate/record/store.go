package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/strictjson"
)

// Store keeps Records in a directory, one file each, and who holds which
// device in the directory "devices" below it.
type Store struct {
	Dir   string
	Files atomicfile.Files
}

const (
	recordEnd  = ".json"
	begunEnd   = ".begun"   // as Begin wrote it, with those that were begun together
	damagedEnd = ".damaged" // kept, because it cannot be read
	devicesDir = "devices"
)

// The largest files that are read, in bytes. A Record has the configurations that an
// agent hands on and what each plugin printed. A hold has the names of a container and
// an interface.
const (
	maxRecord = 64 << 20
	maxHold   = 4 << 10
)

// ErrDamaged is returned for a Record that cannot be read.
var ErrDamaged = errors.New("it is damaged")

// Within returns the store for what the plugins of this store's Records attach: a plugin
// may execute this program again for the same container and interface, as flannel does
// with a delegate of type bond.
func (s Store) Within() Store { return Store{filepath.Join(s.Dir, "within"), s.Files} }

// File returns the name of a Record's file.
func (s Store) File(k plan.Key) string { return filepath.Join(s.Dir, k.String()+recordEnd) }

// Has reports whether there is a Record that was not set aside, damaged or not.
func (s Store) Has(k plan.Key) bool {
	_, err := os.Lstat(s.File(k))
	return err == nil
}

// Load reads a Record. If there is none, the error is compatible with errors.Is(err,
// fs.ErrNotExist). If the Record is damaged, a copy of it is kept under another name,
// and Load returns the Record that Begin wrote, with every step marked as begun. If that
// is gone too, the error is compatible with errors.Is(err, ErrDamaged).
func (s Store) Load(k plan.Key) (*Record, error) {
	file := s.File(k)
	r, err := read(file, k)
	if !errors.Is(err, ErrDamaged) {
		return r, err
	}
	notKept := atomicfile.Ignore(fs.ErrExist, s.Files.Link(file, file+damagedEnd))
	r, missing := read(file+begunEnd, k)
	switch {
	case missing == nil:
		r.assumeBegun()
		return r, nil
	case notKept != nil:
		return nil, fmt.Errorf("%w and no copy of it can be kept: %v", err, notKept)
	}
	return nil, fmt.Errorf("%w; it is kept as %s", err, file+damagedEnd)
}

func read(file string, k plan.Key) (*Record, error) {
	data, err := atomicfile.Read(file, maxRecord)
	switch {
	case errors.Is(err, atomicfile.ErrTooLarge):
		return nil, fmt.Errorf("record of %s: %w: %w", k, ErrDamaged, err)
	case err != nil:
		return nil, fmt.Errorf("record of %s: %w", k, err)
	}
	return decode(data, k)
}

// decode finds the Record of k among those of one file.
func decode(data []byte, k plan.Key) (found *Record, err error) {
	for all := json.NewDecoder(bytes.NewReader(data)); ; {
		var r Record
		switch err := all.Decode(&r); {
		case err == io.EOF && found != nil:
			return found, nil
		case r.Version > Version: // whatever err is: it may have another form, and is not damaged for that
			return nil, fmt.Errorf("record of %s has version %d, but this program knows only %d: use the version that wrote it%s", k, r.Version, Version, named(r.Release))
		case err != nil || r.Version <= 0:
			return nil, fmt.Errorf("record of %s: %w", k, ErrDamaged)
		case r.Plan.Key() == k:
			found = &r
		}
	}
}

// named puts the name of a release after what describes it, if it is known.
func named(release string) string {
	if release == "" {
		return ""
	}
	return fmt.Sprintf(" (%s) or a newer one", release)
}

// List returns the keys of all Records.
func (s Store) List() ([]plan.Key, error) {
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing records: %w", err)
	}
	var keys []plan.Key
	for _, e := range entries {
		name, is := strings.CutSuffix(e.Name(), recordEnd)
		id, ifName, two := strings.Cut(name, ":")
		if is && two {
			keys = append(keys, plan.Key{ContainerID: id, IfName: ifName})
		}
	}
	return keys, nil
}

// Begin writes new Records of one container, so that they survive a crash of the machine,
// and their holds on devices. If there is a Record already, the error is compatible with
// errors.Is(err, fs.ErrExist).
func (s Store) Begin(rs ...*Record) error {
	if err := os.MkdirAll(filepath.Join(s.Dir, devicesDir), 0o700); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	if err := s.begin(rs); err != nil {
		return err
	}
	for _, r := range rs {
		for _, device := range r.Plan.Devices() {
			if err := s.Hold(r.Plan.Key(), device); err != nil {
				return err
			}
		}
	}
	return nil
}

// Hold writes whose Record has a device. It is one small write: a hold that is cut short has
// no Record.
func (s Store) Hold(k plan.Key, device string) error {
	if err := s.Files.Overwrite(s.HoldFile(device), []byte(k.String())); err != nil {
		return fmt.Errorf("hold on %s: %w", device, err)
	}
	return nil
}

// begin writes one file with all the Records, under the names of all of them, until Update
// gives each a file of its own. One file costs two syncs. Files of their own would cost
// two syncs each, which was most of the time that ADD itself takes.
func (s Store) begin(rs []*Record) error {
	of := func(r *Record, err error) error { return fmt.Errorf("record of %s: %w", r.Plan.Key(), err) }
	var all []byte
	for _, r := range rs {
		data := strictjson.Encode(r)
		// A configuration can be nested so deeply that it can be written but not read.
		if !json.Valid(data) {
			return of(r, errors.New("it could not be read back: it is nested too deeply"))
		}
		all = append(append(all, data...), '\n')
	}
	if len(all) > maxRecord {
		return of(rs[0], fmt.Errorf("%w: %d bytes, at most %d can be read back", atomicfile.ErrTooLarge, len(all), maxRecord))
	}
	first := s.File(rs[0].Plan.Key()) + begunEnd
	if err := s.Files.Create(first, all); err != nil {
		return of(rs[0], err)
	}
	for i, r := range rs {
		file := s.File(r.Plan.Key())
		if i > 0 {
			if err := s.Files.Link(first, file+begunEnd); err != nil {
				return of(r, err)
			}
		}
		if err := s.Files.Link(first, file); err != nil {
			return of(r, err)
		}
	}
	return s.Files.SyncDir(s.Dir)
}

// Update writes a Record. It does not sync: after a crash of the machine the Record may be
// damaged. What Begin wrote, which stays beside it, is then enough, because devices of
// another boot are not touched. A Record that was set aside has nothing beside it, so that
// one is synced.
func (s Store) Update(r *Record) error {
	if r.Aside != "" {
		return s.write(r, func(data []byte) error { return s.replaceSynced(r.Aside, data) })
	}
	return s.write(r, func(data []byte) error { return s.Files.Replace(s.File(r.Plan.Key()), data) })
}

// write writes a Record that can be read back.
func (s Store) write(r *Record, replace func(data []byte) error) error {
	data := strictjson.Encode(r)
	if len(data) > maxRecord {
		return fmt.Errorf("record of %s: %w: %d bytes, at most %d can be read back", r.Plan.Key(), atomicfile.ErrTooLarge, len(data), maxRecord)
	}
	if err := replace(data); err != nil {
		return fmt.Errorf("record of %s: %w", r.Plan.Key(), err)
	}
	return nil
}

// replaceSynced is [atomicfile.Files.Replace] for a file that must survive a crash of the
// machine.
func (s Store) replaceSynced(file string, data []byte) error {
	next := file + atomicfile.Unfinished
	if err := s.Files.Remove(next); err != nil { // left by a process that was killed
		return err
	}
	if err := s.Files.Create(next, data); err != nil {
		return err
	}
	return s.Files.Rename(next, file)
}

// End removes a Record and its holds on devices, even holds that were cut short when the
// disk was full. It is no error if they are gone. If a hold cannot be removed the Record
// stays too. The caller holds locks on the devices.
func (s Store) End(r *Record) error {
	if r.Aside != "" {
		return s.removeInOrder(r.Aside+atomicfile.Unfinished, r.Aside)
	}
	if err := s.release(r, r.Plan.Devices()); err != nil {
		return err
	}
	return s.Forget(r.Plan.Key())
}

// ReleaseRestored removes the holds of a Record on links that are as before again: what is
// not restored of the others does not concern their next pod. The Record on disk has them
// as restored. The caller holds locks on the devices.
func (s Store) ReleaseRestored(r *Record) error {
	var free []string
	for _, l := range r.Plan.Links {
		if held := l.Holds(); held != "" && (slices.Contains(r.Restored, l.Name) || r.IsFreed(l)) {
			free = append(free, held)
		}
	}
	return s.release(r, free)
}

// release removes holds of a Record on devices.
func (s Store) release(r *Record, devices []string) error {
	var errs []error
	for _, device := range devices {
		if holder, err := s.Holder(device); err == nil && (holder == r.Plan.Key() || holder == plan.Key{}) {
			errs = append(errs, s.Files.Remove(s.HoldFile(device)))
		}
	}
	return errors.Join(errs...)
}

// Forget removes all files of a Record, including those of a process that was killed while
// it wrote them. Copies of damaged Records stay. What Begin wrote goes last: without it a
// loss of power could leave a Record that cannot be read.
func (s Store) Forget(k plan.Key) error {
	file := s.File(k)
	return s.removeInOrder(file+atomicfile.Unfinished, file, file+begunEnd)
}

// removeInOrder removes files. If one cannot be removed those after it stay: what tells
// that it is there goes last.
func (s Store) removeInOrder(files ...string) error {
	for _, file := range files {
		if err := s.Files.Remove(file); err != nil {
			return err
		}
	}
	return nil
}

// HoldFile returns the name of the file that says whose Record has a device.
func (s Store) HoldFile(device string) string { return filepath.Join(s.Dir, devicesDir, device) }

// Holder returns the key of the Record that has a device. It returns the zero Key if there
// is none, or if the hold's Record is gone.
func (s Store) Holder(device string) (plan.Key, error) {
	data, err := atomicfile.Read(s.HoldFile(device), maxHold)
	if errors.Is(err, fs.ErrNotExist) {
		return plan.Key{}, nil
	}
	if err != nil {
		return plan.Key{}, fmt.Errorf("hold on %s: %w", device, err)
	}
	id, ifName, _ := strings.Cut(string(data), ":")
	k := plan.Key{ContainerID: id, IfName: ifName}
	if _, err := os.Stat(s.File(k)); errors.Is(err, fs.ErrNotExist) {
		return plan.Key{}, nil
	}
	return k, nil
}
