package kubeclient

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFromCheckpoint(t *testing.T) {
	const file = `{"Data":{"PodDeviceEntries":[
		{"PodUID":"u1","ContainerName":"b","ResourceName":"r","DeviceIDs":{"0":["x2","x1"],"-1":["x1"]},"AllocResp":"CgA="},
		{"PodUID":"u2","ContainerName":"b","ResourceName":"r","DeviceIDs":["y1"],"AllocResp":""},
		{"PodUID":"u1","ContainerName":"init","ResourceName":"r","DeviceIDs":["x9"]},
		{"PodUID":"u1","ContainerName":"a","ResourceName":"r","DeviceIDs":["x4","x3"]},
		{"PodUID":"u1","ContainerName":"b","ResourceName":"s","DeviceIDs":null},
		{"PodUID":"u3","ContainerName":"b","ResourceName":"r","DeviceIDs":7}
	],"RegisteredDevices":{"r":["x1"]}},"Checksum":1}`
	got, err := FromCheckpoint([]byte(file), "u1", []string{"b", "a"})
	require.NoError(t, err)
	var names []string
	for _, c := range got {
		names = append(names, c.Name)
	}
	assert.Equal(t, []string{"b", "a", "init"}, names)
	devices, err := Allocate("demo/p", got, []Need{wants("n", "r", 5)}, noPF)
	require.NoError(t, err)
	assert.Equal(t, []string{"x1", "x2", "x3", "x4", "x9"}, devices[0])
	got, err = FromCheckpoint([]byte(file), "u4", nil)
	require.NoError(t, err)
	assert.Empty(t, got, "the devices of a pod without devices")
	_, err = FromCheckpoint([]byte(file), "u3", nil)
	assert.EqualError(t, err, "the kubelet's checkpoint: container b: r: DeviceIDs is 7, want a list, or a list per NUMA node")
}

func TestBadCheckpoint(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "the kubelet's checkpoint: unexpected end",
		`{"Data":{"PodDeviceEntries":[`:   "the kubelet's checkpoint: unexpected end",
		`{"Data":{"PodDeviceEntries":7}}`: "the kubelet's checkpoint: json: cannot unmarshal number",
		`{}`:                              "the kubelet's checkpoint has no Data",
		`{"Data":null}`:                   "the kubelet's checkpoint has no Data",
		`[]`:                              "the kubelet's checkpoint: json: cannot unmarshal array",
	} {
		_, err := FromCheckpoint([]byte(text), "u", nil)
		assertPrefix(t, want, fmt.Sprint(err), text)
	}
}
