package kubeclient

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range got {
		names = append(names, c.Name)
	}
	if diff := cmp.Diff([]string{"b", "a", "init"}, names); diff != "" {
		t.Error(diff)
	}
	devices, err := Allocate("demo/p", got, []Need{wants("n", "r", 5)}, noPF)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"x1", "x2", "x3", "x4", "x9"}, devices[0]); diff != "" {
		t.Error(diff)
	}
	if got, err := FromCheckpoint([]byte(file), "u4", nil); err != nil || len(got) != 0 {
		t.Errorf("a pod without devices: %+v, %v", got, err)
	}
	if _, err := FromCheckpoint([]byte(file), "u3", nil); err == nil || err.Error() != "the kubelet's checkpoint: container b: r: DeviceIDs is 7, wanted is a list, or a list per NUMA node" {
		t.Error(err)
	}
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
		if _, err := FromCheckpoint([]byte(text), "u", nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzCheckpoint(f *testing.F) {
	f.Add([]byte(`{"Data":{"PodDeviceEntries":[{"PodUID":"u1","ContainerName":"b","ResourceName":"r","DeviceIDs":{"0":["x2"],"-1":["x1"]}}]},"Checksum":1}`))
	f.Add([]byte(`{"Data":{"PodDeviceEntries":[{"PodUID":"u1","ContainerName":"b","ResourceName":"r","DeviceIDs":["x1","x1"]},{"PodUID":"u1","ContainerName":"a"}]}}`))
	f.Add([]byte(`{"Data":{"PodDeviceEntries":null}}`))
	f.Add([]byte(`{"Data":{"PodDeviceEntries":[{"PodUID":"u1","DeviceIDs":{"":null}}]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := FromCheckpoint(raw, "u1", []string{"b", "a"})
		if err != nil {
			return
		}
		again, err := FromCheckpoint(raw, "u1", []string{"b", "a"})
		if err != nil || len(got) != len(again) {
			t.Fatalf("%+v, then %+v, %v", got, again, err)
		}
		for i, c := range got {
			if c.Name != again[i].Name {
				t.Fatalf("%+v, then %+v", got, again)
			}
			for resource := range c.Resources {
				w := Want{Resource: resource}
				if diff := cmp.Diff(c.devices(w), again[i].devices(w)); diff != "" {
					t.Fatal(diff)
				}
			}
		}
	})
}
