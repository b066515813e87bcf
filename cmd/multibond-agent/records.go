package main

import (
	"errors"
	"io/fs"
	"os"

	"github.com/multibond/multibond/delegate/record"
	"github.com/multibond/multibond/kubeclient"
)

// readRecords returns the Records of a directory, those that were set aside too, as far as
// the agent tells of them. The error names those that cannot be read. A directory that is
// not there is an error: the agent has no mount of it.
func readRecords(dir string) (out []kubeclient.Recorded, err error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, err
	}
	store := record.Store{Dir: dir}
	for _, s := range []record.Store{store, store.Within()} {
		keys, wrong := s.List()
		err = errors.Join(err, wrong)
		for _, k := range keys {
			rec, wrong := s.Load(k)
			switch {
			case errors.Is(wrong, fs.ErrNotExist): // its DEL has just ended
			case wrong != nil:
				err = errors.Join(err, wrong)
			default:
				out = append(out, recorded(rec))
			}
		}
	}
	aside, wrong := store.ListAside()
	for _, rec := range aside {
		out = append(out, recorded(rec))
	}
	return out, errors.Join(err, wrong)
}

func recorded(rec *record.Record) kubeclient.Recorded {
	r := kubeclient.Recorded{
		Pod: rec.Plan.Group.Pod, Container: rec.Plan.ContainerID, Interface: rec.Plan.IfName, Devices: rec.Plan.Devices(),
		Created: rec.Created, Aside: rec.Aside != "", Left: rec.Left, Warnings: rec.Warnings, Steps: rec.Steps,
	}
	for _, l := range rec.Plan.Links {
		_, attached := rec.Attached[l.Name]
		r.Links = append(r.Links, kubeclient.PlannedLink{Name: l.Name, Device: l.Device, Attached: attached})
	}
	return r
}
