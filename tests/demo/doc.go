// demo shows what multibond does, on a machine without any SR-IOV NIC: it boots
// the lab, attaches two pods with a bond each, breaks what the bonds are for, and
// detaches them. It ends with status 1 and a reason if something is not as it
// should be, and writes a report (build/report/demo.json) in any case.
//
// # What is there
//
// A VM has three PFs on one switch, with three VFs each. Pod 1 and pod 2 are
// network namespaces; the plugin is called for them as a container runtime calls
// it, with its environment and a configuration on standard input. A pod's bond is
// an active-backup one over a VF of PF 1 (bond0-1) and a VF of PF 2 (bond0-2).
// PF 3 has the address of the router.
//
// # What is measured, and how
//
// A program in pod 1 sends an echo request to pod 2 every 10 ms, and one in each
// pod and on the host looks at the bonds' active link, the links' state and the
// carriers every 5 ms. All events have times of one clock, the guest's
// CLOCK_MONOTONIC.
//
// The time of a failover is that from the last answered request before the gap to
// the first answered one after it, by the arrival of the answers. The gap is the
// longest such time that ends after the fault. It has everything in it that a
// program in the pod has to wait for: that the fault is noticed, that the bond
// takes its other link, that the neighbour learns the other MAC address.
// A request is lost if no answer to it comes at all, up to 1 s after the last one
// was sent. Where the emulated processors were too busy for the probe to send,
// fewer packets are lost than the time without an answer suggests; the report has
// the longest such pause.
//
// No duration is checked: the processor is emulated, and the host may be busy.
// What is checked: the pods reach each other; the active links are those that they
// should be, before and after each fault; traffic comes back; the silent fault
// leaves the pods' carriers alone; afterwards every VF is as it was before,
// and no Record, bond or address is left.
//
// # The first fault: PF 1 is set down
//
// Both pods use PF 1, the primary link of both, so both fail over. Its VFs lose
// their carriers, and the bonds see that (miimon 100). The time counts from the
// start of "ip link set enp1s0 down", in the guest.
//
// It takes seconds, and hardly any of it is the bond's. A VF of an igb PF that is
// down asks it for a reset, and the VF's driver (igbvf) waits for the answer in a
// loop of up to 1 s, under the RTNL lock that the bond's monitor needs. The bond
// then takes the multicast list off the dead link, for which igbvf waits once
// more. Both are so for each pod, one after the other, and each holds a processor
// of two. (Seen as kernel stacks in this VM: e1000_init_hw_vf below
// igbvf_reset_task, then igbvf_set_rx_mode below bond_mii_monitor.)
//
// # The second fault: PF 2's cable is pulled
//
// PF 2 loses its link and its VFs do not, so no carrier tells. The bonds ask the
// router by ARP instead (arpInterval 100); watchPath says why with arpValidate all,
// and why the router. Pod 1's primary link is on PF 2 and pod 2's on PF 1, so that
// the cable is between them: two VFs of one PF talk inside the NIC. Pod 1 fails
// over, pod 2 stays where it is.
//
// Who pulls the cable is outside the guest and has no clock in common with it, so
// the time counts from when PF 2 is first seen without a carrier. That can be
// some milliseconds after the traffic ended.
//
// # The cluster
//
// With -cluster, the same follows as a user of Kubernetes sees it: Multibond and keep are
// installed by their manifests. The cable of PF 1 is pulled under bonds that watch carriers
// only, and then PF 1 is set down. keep ends the first: it may enter the pods, because an igb
// PF cannot disable the link of a VF. The agent tells of it by events and metrics. What README.md
// shows of it is recorded and drawn (Terminal).
//
// # All modes and faults
//
// With -failover, each trial breaks the link that carries a pod's traffic, and mends it
// (trials). Each fault in each mode is tried once more with keep. What takes a pod's VF away
// is mended by making it anew, which without keep brings nothing back. A VF is back when the
// bond has both links, by the clock that all events have, from the start of the command that
// made it; the report has how long that command took by itself.
//
// # Before and after
//
// A snapshot of a VF is its namespace, name, MAC address, MTU and state, from ip
// -json link in every namespace, by its PCI address; and the admin MAC, vlan,
// spoofchk, trust and link-state that its PF keeps. One of all nine VFs, the unused
// ones too, is taken before the first ADD, and one after the last DEL.
package main
