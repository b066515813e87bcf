// Package kubeclient turns what Kubernetes knows of a pod into what delegate
// can attach, and what was attached into what Kubernetes publishes:
//
//	annotation -> Element         ParseNetworks, ParseDefaultNetwork
//	Element    -> Network         Resolver: the NAD, or a file of the configuration directory
//	kubelet    -> Container       FromPodResources, FromCheckpoint, FromClaims
//	Network    -> Need            ReadBond: links by resource, request or network
//	Need       -> devices         Allocate: one assignment for the whole pod
//	all of it  -> Attachment      Attachments: the configurations that plugins get
//	results    -> network-status  Statuses, StatusPatch
//
// and runs this on a node, as [Agent]:
//
//	Lookup   pod -> Attachments   the caches (source), the kubelet, sysfs; then the above
//	Publish  outcome -> API       the queue, one PATCH, one event (publisher)
//	server   the plugin's socket  package delegate has the messages
//
// The pure line: all of the first table are functions of their arguments
// alone, and give the same answer whatever the order in which a map or the
// kubelet names things. What they need to look at is an argument: NADs and PFs
// as functions, the configuration directory as an [io/fs.FS].
//
// Kubernetes enters the project here and nowhere else.
package kubeclient
