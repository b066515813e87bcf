// Package bond knows what a bond is: its options, the facts of links and their
// devices, the steps that make a bond, and the kernel calls that take them.
// It knows nothing of CNI and nothing of Kubernetes.
//
// The pure line: parsing and checking options, planning and verifying are
// functions of their arguments alone and give the same answer on any machine.
// Whatever depends on the running kernel happens behind [Kernel] and
// [Namespace], and in [Survey], which reads sysfs through an [io/fs.FS].
//
// netlink, network namespaces and sysfs enter the project here and nowhere
// else.
package bond
