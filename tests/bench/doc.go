// Bench measures what Multibond itself costs. It compares Multibond with its
// delegates alone, and with Multus for the same pods.
//
// # On this machine: delegates that do nothing
//
// The API server is real, and so are the agent and Multus 4.3.0, thin (the plugin
// does everything) and thick (the plugin asks a daemon that has caches). The plugin
// of the default network and of all others is a program that answers and exits. A
// call is timed from the start of the plugin's process to its exit.
//
// The contenders take turns, one call each. The order moves by one in each round,
// so that all of them meet the same machine. A ratio divides two calls of the same
// round; the report has the median over the rounds and the 10th and 90th percentile.
//
// The programs run in a mount namespace of their own, with empty directories for
// their state, and each pod is a network namespace. That needs root.
//
// # In the lab: real VFs
//
// The same contenders run in a VM with real SR-IOV. The API server is outside of
// it. All three attach VFs that are networks of their own, and Multibond attaches
// bonds. Each sandbox has a new network namespace. The floor is the time that the
// delegates take when they are executed one after the other, and the bond is created
// over one netlink connection. The processor is emulated, so only ratios mean
// something.
//
// The module proxy does not have bond-cni. If you build it yourself and name the
// program (-bond-cni), Multus attaches the same bonds with it: a pod has each VF and
// the bond as networks, three for a bond of two VFs, where it has one network with
// Multibond. Otherwise the report says that this was left out. If you name a program
// built from sriov-cni (-sriov), all contenders and the floor use it instead of the
// lab's. Both run in the VM only.
//
// After the rounds each contender attaches a pod once more, which is not timed. The
// bench counts the programs that the guest's kernel executes and the memory of the
// processes, and checks that the pod has its VFs and its bond.
//
// # Another version of Multibond
//
// If you name a directory with the plugin and the agent of another version (-other),
// that version is one more contender in both parts, with its own agent. The report
// then has the ratio to it for each call, for the start-up and, if you ask for them,
// for the instructions of the start.
package main
