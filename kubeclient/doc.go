// Package kubeclient turns what Kubernetes knows about a pod into what package
// delegate can attach, and what was attached into what Kubernetes publishes:
//
//	annotation -> Element         ParseNetworks, ParseDefaultNetwork
//	Element    -> Network         Resolver: the NAD, or a file of the configuration directory
//	kubelet    -> Container       FromPodResources, FromCheckpoint, FromClaims
//	Network    -> Need            ReadBond: links by resource, request or network
//	Need       -> devices         Allocate: one assignment for the whole pod
//	all these  -> Attachment      Attachments: the configurations that plugins get
//	results    -> network-status  Statuses, StatusPatch
//
// and runs this on a node, as [Agent]:
//
//	Lookup   pod -> Attachments   the caches (source), the kubelet, sysfs; then the above
//	Publish  outcome -> API       the queue, one PATCH, one event (publisher)
//	Watch    kernel -> bonds      their state (watcher), the status of their pods (teller)
//	hosts    Leases -> numbers    this host's number, and the other hosts for keep
//	server   the plugin's socket  package agentapi has the messages
//
// The pure line: the functions of the first table depend on their arguments alone,
// and return the same whatever the order of a map or of the kubelet's answer. What
// they look up is an argument: NADs and PFs are functions, the configuration
// directory is an [io/fs.FS].
//
// Only this package imports packages of Kubernetes.
package kubeclient
