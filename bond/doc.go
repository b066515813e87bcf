// Package bond defines what a bond is: its options, the facts about links and
// their devices, the steps that make a bond, and the kernel calls that carry them
// out. It knows nothing about CNI or Kubernetes.
//
// Parsing, checking, planning and verifying are pure: they depend on their
// arguments alone and give the same answer on any machine. Whatever depends on
// the running kernel is behind [Kernel] and [Namespace], and in [Survey], which
// reads sysfs through an [io/fs.FS].
//
// netlink, network namespaces and sysfs enter the project here and nowhere else.
package bond
