package kubeclient

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/delegate/strictjson"
)

// checkpoint is the kubelet's file of device allocations, the parts of it
// that are read. Its checksum is the kubelet's own affair.
type checkpoint struct {
	Data *struct {
		PodDeviceEntries []struct {
			PodUID        string
			ContainerName string
			ResourceName  string
			DeviceIDs     json.RawMessage
		}
	}
}

// FromCheckpoint reads the devices of the pod with that UID out of the
// kubelet's checkpoint (kubelet_internal_checkpoint), with containers in
// order. A pod that is not in it has no devices.
func FromCheckpoint(raw []byte, uid types.UID, order []string) ([]Container, error) {
	var file checkpoint
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, fmt.Errorf("the kubelet's checkpoint: %w", err)
	}
	if file.Data == nil {
		return nil, fmt.Errorf("the kubelet's checkpoint has no Data")
	}
	containers := map[string]Container{}
	for _, e := range file.Data.PodDeviceEntries {
		if e.PodUID != string(uid) {
			continue
		}
		ids, err := deviceIDs(e.DeviceIDs)
		if err != nil {
			return nil, fmt.Errorf("the kubelet's checkpoint: container %s: %s: %w", e.ContainerName, e.ResourceName, err)
		}
		if _, there := containers[e.ContainerName]; !there {
			containers[e.ContainerName] = newContainer(e.ContainerName)
		}
		resources := containers[e.ContainerName].Resources
		resources[e.ResourceName] = append(resources[e.ResourceName], ids...)
	}
	return inOrder(slices.Collect(maps.Values(containers)), order), nil
}

// deviceIDs reads both forms: a list, as the kubelet wrote it up to 1.19, and
// a list per NUMA node.
func deviceIDs(raw json.RawMessage) (ids []string, err error) {
	if json.Unmarshal(raw, &ids) == nil {
		return ids, nil
	}
	var perNode map[string][]string
	if err := json.Unmarshal(raw, &perNode); err != nil {
		return nil, fmt.Errorf("DeviceIDs is %s, wanted is a list, or a list per NUMA node", strictjson.KindOf(raw))
	}
	return slices.Concat(slices.Collect(maps.Values(perNode))...), nil
}
