package delegate

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/atomicfile"
)

// A disk is what a state directory has on disk, and what of it survives a loss of power.
type disk struct {
	names, synced image
	before        image // as it was before the last operation, if that may be lost
	operations    int
}

// An image is the content of a directory.
type image map[string]*inode

// An inode is a file, which can have several names.
type inode struct {
	data   string
	synced bool
}

func newDisk() *disk { return &disk{names: image{}, synced: image{}} }

// done hears of each operation that was carried out.
func (d *disk) done(o atomicfile.Operation) {
	d.operations++
	was := maps.Clone(d.names)
	switch o.Verb {
	case atomicfile.Sync:
		d.names[o.Name].synced = true
		return
	case atomicfile.Close:
		return
	case atomicfile.SyncDir:
		d.synced, d.before = was, nil // of all directories, as file systems with a journal do
		return
	case atomicfile.Write:
		data, _ := os.ReadFile(o.Name)
		d.write(o.Name, string(data))
	case atomicfile.Remove:
		delete(d.names, o.Name)
	case atomicfile.Link:
		d.names[o.To] = d.names[o.Name]
	case atomicfile.Rename:
		d.names[o.To] = d.names[o.Name]
		delete(d.names, o.Name)
	case atomicfile.Exchange:
		d.names[o.To], d.names[o.Name] = d.names[o.Name], d.names[o.To]
	}
	d.before = was
}

// write changes the file of a name, under all the names that it has.
func (d *disk) write(name, data string) {
	if d.names[name] == nil {
		d.names[name] = &inode{}
	}
	*d.names[name] = inode{data: data}
}

// A loss is what a loss of power leaves of a disk.
type loss string

const (
	thePowerStays loss = ""
	kept          loss = "all is on disk"
	noData        loss = "only data that was not synced is lost"
	noLast        loss = "only the last operation is lost"
	unsynced      loss = "all that was not synced is lost"
)

// afterwards returns what each loss of power leaves, as far as they differ.
func (d *disk) afterwards() map[loss]image {
	all := map[loss]image{}
	add := func(of loss, names image, data bool) {
		one := names.survive(data)
		for _, other := range all {
			if one.equal(other) {
				return
			}
		}
		all[of] = one
	}
	add(kept, d.names, true)
	add(noData, d.names, false)
	if d.before != nil {
		add(noLast, d.before, true)
	}
	add(unsynced, d.synced, false)
	return all
}

// survive copies an image, with or without the data that was not synced.
func (n image) survive(data bool) image {
	out, copied := image{}, map[*inode]*inode{}
	for name, i := range n {
		if copied[i] == nil {
			copied[i] = &inode{synced: true}
			if data || i.synced {
				copied[i].data = i.data
			}
		}
		out[name] = copied[i]
	}
	return out
}

func (n image) equal(other image) bool {
	return maps.EqualFunc(n, other, func(a, b *inode) bool { return *a == *b })
}

// restore writes an image into a directory. The names of the image are those below from.
func (n image) restore(t *testing.T, from, dir string) *disk {
	d := newDisk()
	first := map[*inode]string{}
	for name, i := range n {
		to := dir + strings.TrimPrefix(name, from)
		require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o700))
		if one := first[i]; one != "" {
			require.NoError(t, os.Link(one, to))
		} else {
			writeFile(t, to, i.data, 0o600)
			first[i] = to
		}
		d.names[to] = i
	}
	d.synced = maps.Clone(d.names)
	return d
}
