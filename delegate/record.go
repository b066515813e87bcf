package delegate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/multibond/multibond/bond"
)

// recordVersion is the version of a Record's form on disk.
const recordVersion = 1

// Record is what has been done for one attachment: the plan, on disk before
// its first effect, and what is known since. It is all that undoing needs.
type Record struct {
	Version     int             `json:"version"`
	BootID      string          `json:"bootID"`
	NetnsID     string          `json:"netnsID"` // tells another namespace at the same path
	Created     time.Time       `json:"created"`
	Plan        Plan            `json:"plan"`
	Started     []string        `json:"started,omitempty"`  // links whose attachment was begun
	Attached    map[string]Seen `json:"attached,omitempty"` // links that were seen in the pod
	BondIndex   int             `json:"bondIndex,omitempty"`
	IPAMAsked   bool            `json:"ipamAsked,omitempty"`
	IPAMRefused bool            `json:"ipamRefused,omitempty"` // it answered with an error
	Addresses   bond.Addresses  `json:"addresses,omitzero"`    // of the bond
	Result      json.RawMessage `json:"result,omitempty"`      // the ADD's: the attachment is complete
	Restored    []string        `json:"restored,omitempty"`    // links that are as before again
	LostSince   time.Time       `json:"lostSince,omitzero"`    // when a device was first found to be nowhere
	Steps       []Step          `json:"steps,omitempty"`
	Warnings    []string        `json:"warnings,omitempty"`
}

// Seen is a link right after it was attached.
type Seen struct {
	Link   bond.Link       `json:"link"`
	Admin  *bond.VF        `json:"admin,omitempty"`
	Result json.RawMessage `json:"result,omitempty"` // of the last plugin
}

// Step is one thing that was done, and the time it took.
type Step struct {
	What         string  `json:"what"`
	Milliseconds float64 `json:"ms"`
}

// Key names a Record: one attachment of one container.
type Key struct{ ContainerID, IfName string }

// String uses a colon, which neither part can contain.
func (k Key) String() string { return k.ContainerID + ":" + k.IfName }

// Store keeps Records in a directory, one file each, and who holds which
// device in the directory "devices" below it.
type Store struct{ Dir string }

const (
	recordEnd  = ".json"
	devicesDir = "devices"
	damagedEnd = ".damaged"
)

// errDamaged is a Record that cannot be read; it counts as not there.
var errDamaged = fmt.Errorf("damaged: %w", fs.ErrNotExist)

func (s Store) file(k Key) string { return filepath.Join(s.Dir, k.String()+recordEnd) }

// Load reads a Record. The error is compatible with errors.Is(err,
// fs.ErrNotExist) where there is none. A damaged one is set aside under
// another name, so that it blocks nothing and is not lost.
func (s Store) Load(k Key) (*Record, error) {
	data, err := os.ReadFile(s.file(k))
	if err != nil {
		return nil, fmt.Errorf("record of %s: %w", k, err)
	}
	var r Record
	err = json.Unmarshal(data, &r)
	if err == nil && r.Version != recordVersion {
		return nil, fmt.Errorf("record of %s has version %d, this program knows %d: use the version that wrote it", k, r.Version, recordVersion)
	}
	if err == nil && r.Plan.Key() == k {
		return &r, nil
	}
	aside := s.file(k) + damagedEnd
	if moved := os.Rename(s.file(k), aside); moved != nil {
		return nil, fmt.Errorf("record of %s is damaged and cannot be set aside: %w", k, moved)
	}
	return nil, fmt.Errorf("record of %s: %w; it is kept as %s", k, errDamaged, aside)
}

// List returns the keys of all Records.
func (s Store) List() ([]Key, error) {
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("records: %w", err)
	}
	var keys []Key
	for _, e := range entries {
		name, is := strings.CutSuffix(e.Name(), recordEnd)
		id, ifName, two := strings.Cut(name, ":")
		if is && two {
			keys = append(keys, Key{id, ifName})
		}
	}
	return keys, nil
}

// Begin writes a new Record, and its hold on its devices, so that they
// survive a crash of the machine.
func (s Store) Begin(r *Record) error {
	if err := os.MkdirAll(filepath.Join(s.Dir, devicesDir), 0o700); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	if err := s.write(r, true); err != nil {
		return err
	}
	for _, device := range r.Plan.Devices() {
		if err := replace(s.hold(device), []byte(r.Plan.Key().String()), false); err != nil {
			return fmt.Errorf("hold on %s: %w", device, err)
		}
	}
	return nil
}

// Update writes what is new about a Record. It is not synced: after a crash
// of the machine the Record that Begin synced is enough, because devices of
// another boot are not touched.
func (s Store) Update(r *Record) error { return s.write(r, false) }

func (s Store) write(r *Record, sync bool) error {
	if err := replace(s.file(r.Plan.Key()), encode(r), sync); err != nil {
		return fmt.Errorf("record of %s: %w", r.Plan.Key(), err)
	}
	return nil
}

// End removes a Record and its hold on its devices. It is no error if they
// are gone.
func (s Store) End(r *Record) error {
	var errs []error
	for _, device := range r.Plan.Devices() {
		if holder, err := s.Holder(device); err == nil && holder == r.Plan.Key() {
			errs = append(errs, ignore(fs.ErrNotExist, os.Remove(s.hold(device))))
		}
	}
	errs = append(errs, ignore(fs.ErrNotExist, os.Remove(s.file(r.Plan.Key()))))
	return errors.Join(errs...)
}

func (s Store) hold(device string) string { return filepath.Join(s.Dir, devicesDir, device) }

// Holder returns whose Record has a device; the zero Key for nobody's. A hold
// whose Record is gone is nobody's.
func (s Store) Holder(device string) (Key, error) {
	data, err := os.ReadFile(s.hold(device))
	if errors.Is(err, fs.ErrNotExist) {
		return Key{}, nil
	}
	if err != nil {
		return Key{}, fmt.Errorf("hold on %s: %w", device, err)
	}
	id, ifName, _ := strings.Cut(string(data), ":")
	k := Key{id, ifName}
	if _, err := os.Stat(s.file(k)); errors.Is(err, fs.ErrNotExist) {
		return Key{}, nil
	}
	return k, nil
}

func ignore(what, err error) error {
	if errors.Is(err, what) {
		return nil
	}
	return err
}

// replace writes a file whole or not at all.
func replace(file string, data []byte, sync bool) error {
	temp, err := os.CreateTemp(filepath.Dir(file), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(data)
	if err == nil && sync {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), file); err != nil || !sync {
		return err
	}
	return syncDir(filepath.Dir(file))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
