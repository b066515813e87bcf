package kubeclient

import (
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/multibond/multibond/delegate/agentapi"
)

// NodeAnnotation is the annotation of an agent's own pod in which it tells how its node is.
// Whoever may see pods may read it: no port has to be open for that, and no right is needed
// that the agent does not have already.
const NodeAnnotation = "multibond.io/node"

// NodeReport is what an agent knows of its node, for people. Within one version of its form
// keys are added, and none is renamed or removed.
type NodeReport struct {
	At        *time.Time       `json:"at,omitempty"` // when it was sent
	Version   string           `json:"version"`      // of the agent
	Kernel    string           `json:"kernel,omitempty"`
	Bonding   bool             `json:"bonding"`  // its module is loaded; the first bond loads it
	Watching  bool             `json:"watching"` // the agent hears of this node's bonds
	Config    ConfigReport     `json:"config"`
	Plugins   []PluginReport   `json:"plugins,omitempty"` // that are used, and are there or not
	PFs       []PFReport       `json:"pfs,omitempty"`
	Resources []ResourceReport `json:"resources,omitempty"`
	Records   RecordsReport    `json:"records"`
	Orphans   []string         `json:"orphans,omitempty"` // VFs that are not in the host, and that nobody has
	Bonds     []BondReport     `json:"bonds,omitempty"`
	Brief     bool             `json:"brief,omitempty"`  // bonds that are up, without a warning, have neither Planned nor Steps
	Unseen    []string         `json:"unseen,omitempty"` // what the agent cannot see, and why
}

// ConfigReport is what the container runtime finds in its directory.
type ConfigReport struct {
	State   string `json:"state,omitempty"` // of package confdir
	First   string `json:"first,omitempty"` // the file that the runtime takes
	Message string `json:"message,omitempty"`
	OK      bool   `json:"ok"`
}

// PluginReport is a CNI plugin that networks use.
type PluginReport struct {
	Name     string   `json:"name"`
	Version  string   `json:"version,omitempty"` // if the file tells
	Missing  bool     `json:"missing,omitempty"`
	Networks []string `json:"networks,omitempty"` // that use it, if it is missing: the first few
	More     int      `json:"more,omitempty"`     // how many more networks use it
}

// PFReport is a NIC that can have VFs.
type PFReport struct {
	Name      string `json:"name"`
	Device    string `json:"device"` // the PCI address
	Driver    string `json:"driver,omitempty"`
	NUMA      *int   `json:"numa,omitempty"`
	Speed     int    `json:"speed,omitempty"` // Mbit/s
	MTU       int    `json:"mtu,omitempty"`
	Up        bool   `json:"up"`
	Carrier   bool   `json:"carrier"`
	Switchdev bool   `json:"switchdev,omitempty"`
	VFs       int    `json:"vfs"`
}

// ResourceReport is a resource of the device plugin, with the PFs whose VFs it has.
type ResourceReport struct {
	Name      string   `json:"name"`
	PFs       []string `json:"pfs,omitempty"`
	Devices   int      `json:"devices"`
	Allocated int      `json:"allocated"`
}

// RecordsReport counts the Records of the node, and lists those that need somebody.
type RecordsReport struct {
	Count int           `json:"count"`
	Aside []RecordOwner `json:"aside,omitempty"` // whose restoring was given up
	Stale []RecordOwner `json:"stale,omitempty"` // whose pod is gone
}

// RecordOwner is a Record that needs somebody.
type RecordOwner struct {
	Pod       string    `json:"pod,omitempty"` // "demo/p"
	Container string    `json:"container"`
	Interface string    `json:"interface"`
	Devices   []string  `json:"devices,omitempty"`
	Created   time.Time `json:"created"`
	Left      string    `json:"left,omitempty"` // what was not as before
}

// The states of a bond.
const (
	BondUp       = "up"
	BondDegraded = "degraded"
	BondDown     = "down"
	BondStarting = "starting" // its links are still coming up
	BondDeleted  = "deleted"  // by its application
)

// BondReport is a bond of a pod of the node.
type BondReport struct {
	Namespace    string          `json:"namespace"`
	Pod          string          `json:"pod"`
	Bond         string          `json:"bond"`
	Network      string          `json:"network,omitempty"`
	Mode         string          `json:"mode,omitempty"`
	MTU          int             `json:"mtu,omitempty"`
	State        string          `json:"state"`     // up, degraded, down, starting, deleted
	Wanted       int             `json:"wanted"`    // how many links it has if none is missing
	Failovers    int             `json:"failovers"` // since the agent watches the bond
	LastFailover *time.Time      `json:"lastFailover,omitempty"`
	Links        []LinkReport    `json:"links,omitempty"`
	Attached     *time.Time      `json:"attached,omitempty"` // by the Record, as all that follows
	Planned      []PlannedLink   `json:"planned,omitempty"`
	Warnings     []string        `json:"warnings,omitempty"`
	Steps        []agentapi.Step `json:"steps,omitempty"`
}

// LinkReport is a link of a bond, as the kernel tells.
type LinkReport struct {
	Name     string `json:"name"`
	Device   string `json:"device,omitempty"`
	PF       string `json:"pf,omitempty"`
	Active   bool   `json:"active,omitempty"`
	State    string `json:"state"` // up, down, gone
	Failures uint32 `json:"failures"`
	Partner  *bool  `json:"partner,omitempty"` // in 802.3ad: whether the switch answers
}

// PlannedLink is a link as the Record has it.
type PlannedLink struct {
	Name     string `json:"name"`
	Device   string `json:"device,omitempty"`
	Attached bool   `json:"attached"` // it was in the pod
}

// Recorded is a Record, as far as the agent tells of it.
type Recorded struct {
	Pod       agentapi.Pod
	Container string
	Interface string
	Devices   []string // that it holds
	Created   time.Time
	Aside     bool // it was set aside
	Left      string
	Links     []PlannedLink
	Warnings  []string
	Steps     []agentapi.Step
}

func (r Recorded) owner() RecordOwner {
	o := RecordOwner{Container: r.Container, Interface: r.Interface, Devices: r.Devices, Created: r.Created, Left: r.Left}
	if r.Pod.Name != "" {
		o.Pod = r.Pod.Namespace + "/" + r.Pod.Name
	}
	return o
}

// The agent sends a report that has not changed again after nodeBeat, and up to a tenth less
// or more.
const nodeBeat = 10 * time.Minute

// ReportLife is how long a report holds: two of them should have come since.
const ReportLife = 2*nodeBeat + nodeBeat/4

// ReadNodeReport returns what an agent tells of its node, or nil if its pod does not.
func ReadNodeReport(pod *corev1.Pod) (*NodeReport, error) {
	text := pod.Annotations[NodeAnnotation]
	if text == "" {
		return nil, nil
	}
	r := &NodeReport{}
	if err := json.Unmarshal([]byte(text), r); err != nil {
		return nil, fmt.Errorf("pod %s/%s: annotation %s: %w", pod.Namespace, pod.Name, NodeAnnotation, err)
	}
	return r, nil
}
