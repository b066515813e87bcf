package confdir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"

	"github.com/multibond/multibond/delegate/strictjson"
)

// Multibond's files in the directory of the runtime, which reads only the first of them.
const (
	// Ours is the cluster's configuration. It sorts before the files of other network
	// plugins, because runtimes take the first.
	Ours = "00-multibond.conflist"

	// Installed has what the installer has written to Ours. It is empty once the installer
	// should remove that again, because another meta plugin calls Multibond now.
	Installed = "." + Ours + ".installed"

	// GivenUp is there while the keeper (multibond-agent install -keep) has given up putting
	// Ours back. It has the reason.
	GivenUp = "." + Ours + ".given-up"
)

// State is what became of Ours in the directory.
type State string

// The states. Only in Used and Absent all is well.
const (
	Used    State = "used"    // the runtime takes it
	Absent  State = "absent"  // nobody has installed it
	Behind  State = "behind"  // another file sorts before it
	Changed State = "changed" // it is not what was installed
	Renamed State = "renamed" // another program gave it a name that the runtime does not read
	Gone    State = "gone"    // it was removed
	Extra   State = "extra"   // the installer should remove it, and pods still need it
	Unknown State = "unknown" // the directory cannot be read
)

// States are all of them.
var States = []State{Used, Absent, Behind, Changed, Renamed, Gone, Extra, Unknown}

// Standing is what the runtime finds in its directory.
type Standing struct {
	State     State
	First     string   // the file that the runtime takes; "" for none
	RenamedTo string   // if State is Renamed
	Others    []string // types of the plugins that other installers appended to Ours
	GivenUp   string   // why the keeper does not put Ours back any more; "" if it has not given up
}

// Look returns what a runtime finds in dir. With an error its state is Unknown.
func Look(dir fs.FS) (Standing, error) {
	files, err := Files(dir)
	if err != nil {
		return Standing{State: Unknown}, err
	}
	s := Standing{State: Unknown}
	if len(files) > 0 {
		s.First = files[0]
	}
	now, there, err1 := readIfThere(dir, Ours)
	installed, known, err2 := readIfThere(dir, Installed)
	givenUp, _, err3 := readIfThere(dir, GivenUp)
	if err := errors.Join(err1, err2, err3); err != nil {
		return s, err
	}
	s.GivenUp = strings.TrimSpace(string(givenUp))
	wanted := len(installed) > 0
	switch {
	case there && known && !wanted:
		s.State = Extra
	case !there && !wanted:
		s.State = Absent
	case !there:
		s.State, s.RenamedTo = goneOrRenamed(dir)
	case wanted && !isExtended(now, installed):
		s.State = Changed
	case s.First != Ours:
		s.State = Behind
	default:
		s.State = Used
	}
	if wanted && there {
		s.Others = pluginTypes(others(now, installed))
	}
	return s, nil
}

func readIfThere(dir fs.FS, name string) (data []byte, there bool, err error) {
	data, err = fs.ReadFile(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	return data, err == nil, err
}

// goneOrRenamed looks for Ours with another end, such as Cilium's .cilium_bak.
func goneOrRenamed(dir fs.FS) (State, string) {
	entries, err := fs.ReadDir(dir, ".")
	if err != nil {
		return Gone, ""
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), Ours) {
			return Renamed, e.Name()
		}
	}
	return Gone, ""
}

// OK reports whether nobody has to do anything.
func (s Standing) OK() bool { return s.State == Used || s.State == Absent }

// String says what is wrong, what it means for pods, and what to do, in one line.
func (s Standing) String() string {
	const again = "then restart the agent's pod on this node, which installs it again"
	takes := "the container runtime has no configuration, and no pod starts"
	if s.First != "" {
		takes = "the container runtime takes " + s.First + ", and pods start without their additional networks"
	}
	var text string
	switch s.State {
	case Used:
		text = "the container runtime takes " + Ours
		if len(s.Others) > 0 {
			text += ", to which other installers appended " + strings.Join(s.Others, ", ")
		}
	case Absent:
		text = Ours + " is not installed on this node"
	case Behind:
		text = fmt.Sprintf("%s sorts before %s: %s (remove or rename %s)", s.First, Ours, takes, s.First)
	case Changed:
		text = fmt.Sprintf("%s is not what was installed (find what changes it, %s)", Ours, again)
	case Renamed:
		text = fmt.Sprintf("%s was renamed to %s: %s (%s, %s)", Ours, s.RenamedTo, takes, renamedBy(s.RenamedTo), again)
	case Gone:
		text = fmt.Sprintf("%s is gone: %s (find what removes it, %s)", Ours, takes, again)
	case Extra:
		text = fmt.Sprintf("%s is there, although another meta plugin calls Multibond: the container runtime takes %s (delete the pods with additional networks of this node, then restart the agent's pod, which removes it)", Ours, s.First)
	}
	if s.GivenUp != "" && !s.OK() {
		text += "; " + s.GivenUp
	}
	return text
}

// renamedBy tells what to set so that a file is not renamed.
func renamedBy(name string) string {
	if strings.HasSuffix(name, ".cilium_bak") {
		return "set cni.exclusive=false in Cilium's Helm values"
	}
	return "find what renames it"
}

// configList is a configuration list, decoded as far as its plugins.
type configList struct {
	top     map[string]any
	plugins []json.RawMessage
}

func readList(text []byte) (l configList, err error) {
	if err := json.Unmarshal(text, &l.top); err != nil {
		return l, err
	}
	delete(l.top, "plugins")
	var inner struct{ Plugins []json.RawMessage }
	err = json.Unmarshal(text, &inner)
	l.plugins = inner.Plugins
	return l, err
}

// isExtended reports whether now is the list installed, to which at most plugins were
// appended. How the text is formatted does not count.
func isExtended(now, installed []byte) bool {
	n, err1 := readList(now)
	i, err2 := readList(installed)
	if errors.Join(err1, err2) != nil || len(n.plugins) < len(i.plugins) || !reflect.DeepEqual(n.top, i.top) {
		return false
	}
	return slices.EqualFunc(n.plugins[:len(i.plugins)], i.plugins, sameJSON)
}

func sameJSON(a, b json.RawMessage) bool {
	var left, right any
	return json.Unmarshal(a, &left) == nil && json.Unmarshal(b, &right) == nil && reflect.DeepEqual(left, right)
}

// WithOthers returns text, a configuration list to be installed, with the plugins that
// other installers appended to now, the list that is there. installed is what was installed
// before, or nil if that is not known. If now is that already, however it is formatted, it
// is returned as it is.
func WithOthers(text, now, installed []byte) (list []byte, types []string) {
	kept := others(now, installed)
	own := pluginTypes(pluginsOf(text))
	kept = slices.DeleteFunc(kept, func(p json.RawMessage) bool { return slices.Contains(own, typeOf(p)) })
	if len(kept) == 0 {
		return text, nil
	}
	list = strictjson.SetField(text, "plugins", strictjson.JoinList(slices.Concat(pluginsOf(text), kept)))
	if sameJSON(list, now) {
		list = now
	}
	return list, pluginTypes(kept)
}

// others returns the plugins of now that the installer has not installed.
func others(now, installed []byte) []json.RawMessage {
	own := append(pluginTypes(pluginsOf(installed)), "multibond")
	return slices.DeleteFunc(pluginsOf(now), func(p json.RawMessage) bool { return slices.Contains(own, typeOf(p)) })
}

// pluginsOf returns the plugins of a list, or nothing if text is no list.
func pluginsOf(text []byte) []json.RawMessage {
	l, err := readList(text)
	if err != nil {
		return nil
	}
	return l.plugins
}

func pluginTypes(plugins []json.RawMessage) (types []string) {
	for _, p := range plugins {
		types = append(types, typeOf(p))
	}
	return types
}

func typeOf(plugin json.RawMessage) string {
	var h head
	_ = json.Unmarshal(plugin, &h) // without a type it is nobody's
	return h.Type
}

// WithoutRepeated takes the plugins out of a default network that another installer has
// also appended to Ours in dir: the runtime executes them after Multibond. The first plugin
// stays.
func WithoutRepeated(raw json.RawMessage, dir fs.FS) json.RawMessage {
	now, _, _ := readIfThere(dir, Ours)
	installed, known, _ := readIfThere(dir, Installed)
	if !known {
		return raw // the administrator may have chosen the plugins of both
	}
	repeated := pluginTypes(others(now, installed))
	plugins := pluginsOf(raw)
	if len(repeated) == 0 || len(plugins) < 2 {
		return raw
	}
	left := slices.Clone(plugins[:1])
	for _, p := range plugins[1:] {
		if !slices.Contains(repeated, typeOf(p)) {
			left = append(left, p)
		}
	}
	if len(left) == len(plugins) {
		return raw
	}
	return strictjson.SetField(raw, "plugins", strictjson.JoinList(left))
}
