// Bench measures what Multibond itself costs, beside what its delegates do, and
// beside what Multus needs for the same.
//
// # On this machine: delegates that do nothing
//
// The API server is real, and so are the agent and Multus 4.3.0, thin (its
// plugin does all) and thick (its plugin asks a daemon that has caches). The
// default network and all others are attached by a program that answers and
// ends. A call is timed from the start of the plugin's process to its end. The
// contenders take turns, one call each, in an order that changes by one in each
// round, so that all meet the same machine; a ratio is that of two calls of one
// round, and what is reported of it the median over the rounds, with the 10th and
// the 90th percentile.
//
// The programs have a mount namespace of their own, with empty directories where
// they keep their state, and pods are network namespaces. That needs root.
//
// # In the lab: real VFs
//
// The same contenders in a VM with real SR-IOV, against an API server outside of
// it: Multibond with bonds, all three with VFs that are networks by themselves.
// Each call has a network namespace of its own. The floor is what the delegates
// take when they are executed one after the other, and the bond made in one
// conversation with the kernel. The processor is emulated, so only ratios mean
// something.
package main
