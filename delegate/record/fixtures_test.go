package record

import "github.com/multibond/multibond/delegate/plan"

// Three devices, and the keys of two containers.
const vfA, vfA2, vfB = "0000:3b:02.0", "0000:3b:02.1", "0000:5e:02.0"

var c1, c2 = plan.Key{ContainerID: "c1", IfName: "bond0"}, plan.Key{ContainerID: "c2", IfName: "bond0"}
