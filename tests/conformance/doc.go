// Package conformance runs one table of pods and networks on Multibond and on Multus.
// Both are the real programs, between a fake API server and kubelet and a recorder that
// stands for every other plugin. What differs has a reason, which is a row of
// kubeclient/README.md.
//
// A case is a file of testdata, in the txtar format:
//
//	-- nad NAMESPACE/NAME [RESOURCE] --   a NetworkAttachmentDefinition's spec.config
//	-- claim NAME REQUEST --              a ResourceClaim of the pod: lines of DEVICE CDI-NAME
//	-- file PATH --                       a file of the node
//	-- cluster --                         keys of the cluster's configuration
//	-- default-network --                 the value of that annotation of the pod
//	-- networks --                        the same
//	-- annotations --                     other annotations of the pod, as JSON
//	-- pod --                             "NAMESPACE/NAME"; demo/p by default
//	-- args --                            the CNI_ARGS that the runtime passes
//	-- devices --                         lines of what the pod has: RESOURCE DEVICE...
//	-- verbs --                           verbs that the runtime calls between ADD and DEL
//	-- want --                            what Multus does
//	-- multibond --                       what Multibond does, if that differs
//	-- why --                             lines of the keys of reasons
//
// The text before the first section says where the case comes from. To write want and
// multibond: make conformance RECORD=1, and read what has changed.
//
// No two cases share a pod or a NAD: "demo" stands for a namespace of its own.
package conformance
