package kubeclient

import (
	"io/fs"
	"path"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/strictjson"
)

// outside are names with which somebody may try to reach other files.
var outside = []string{"..", "../x", "../../etc/passwd", "/etc/passwd", "a/../../b", "./a", "a\x00b", "a\nb", " ", "*", strings.Repeat("../", 20) + "etc/passwd"}

// watchedFS records which files are opened.
type watchedFS struct {
	fs.FS
	opened *[]string
}

func (w watchedFS) Open(name string) (fs.File, error) {
	*w.opened = append(*w.opened, name)
	return w.FS.Open(name)
}

// TestAuthorsNameNoFile: whatever name the author of a NAD or of a pod chooses for a network,
// a resource, a device or an interface, the agent opens no file but a device-info file of a
// device plugin and those of the directory of configurations, and names no device-info file
// but one in its directory.
func TestAuthorsNameNoFile(t *testing.T) {
	var opened []string
	m := Machine{
		Sys:        fstest.MapFS{},
		Root:       watchedFS{fstest.MapFS{"etc/passwd": {}, "conf/a.conf": {Data: []byte(`{"name":"..","type":"x"}`)}, "conf/x/a.conf": {}}, &opened},
		ConfDir:    watchedFS{fstest.MapFS{"b.conflist": {Data: []byte(`{"name":"../x","plugins":[{"type":"x"}]}`)}}, &opened},
		DeviceInfo: watchedFS{fstest.MapFS{"dp/a-device.json": {Data: []byte(`{}`)}, "etc/passwd": {Data: []byte(`{}`)}}, &opened}, DeviceInfoDir: "/devinfo",
	}
	for _, name := range outside {
		for _, other := range []string{"intel.com/a", "0000:3b:02.1"} {
			m.deviceInfo(name, other)
			m.deviceInfo(other, name)
		}
		for _, dir := range m.confDirs("/conf") {
			_, err := findConfig([]fs.FS{dir}, name)
			assert.Error(t, err, "%q", name)
		}
	}
	for _, file := range opened {
		if !strings.HasPrefix(file, "dp/") || !strings.HasSuffix(file, "-device.json") {
			assert.Contains(t, []string{".", "b.conflist", "conf", "conf/a.conf"}, file)
		}
		assert.True(t, fs.ValidPath(file), file)
		assert.LessOrEqual(t, strings.Count(file, "/"), 1, file)
	}
	require.NotEmpty(t, opened)
	for _, name := range outside {
		for _, annotation := range []string{
			`[{"name":` + string(strictjson.Encode(name)) + `}]`, `[{"name":"lan","namespace":` + string(strictjson.Encode(name)) + `}]`, `[{"name":"lan","interface":` + string(strictjson.Encode(name)) + `}]`,
			name + "/lan", name + "/x/lan", "lan@" + name,
		} {
			elements, err := ParseNetworks(annotation, "demo", []string{"eth0"})
			if err != nil {
				continue
			}
			for _, e := range elements {
				assert.Equal(t, "/devinfo/cni", path.Dir(m.infoFile("c1", e)), annotation)
			}
		}
	}
}

// TestAgentKeepsNoFileElsewhere: the UID of a pod is the name of a file of the agent, and one
// that would lead elsewhere is refused.
func TestAgentKeepsNoFileElsewhere(t *testing.T) {
	for _, name := range outside {
		_, err := entryOf(agentapi.Publish{Verb: "ADD", Pod: agentapi.Pod{Namespace: "demo", Name: "p", UID: name}}, nil, nil, time.Now())
		assert.Error(t, err, "%q", name)
	}
}
