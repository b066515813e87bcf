package kubeclient

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/delegate/strictjson"
)

// checkpoint has the parts that are read of the kubelet's file of device
// allocations. The checksum is not verified.
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

// FromCheckpoint returns the devices of the pod with that UID from the kubelet's
// checkpoint (kubelet_internal_checkpoint), with the containers in order. A pod
// that is not in the checkpoint has no devices.
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

// deviceIDs parses both forms: a list per NUMA node, and the single list that
// the kubelet wrote up to Kubernetes 1.19.
func deviceIDs(raw json.RawMessage) (ids []string, err error) {
	if json.Unmarshal(raw, &ids) == nil {
		return ids, nil
	}
	var perNode map[string][]string
	if err := json.Unmarshal(raw, &perNode); err != nil {
		return nil, fmt.Errorf("DeviceIDs is %s, want a list, or a list per NUMA node", strictjson.KindOf(raw))
	}
	return slices.Concat(slices.Collect(maps.Values(perNode))...), nil
}
