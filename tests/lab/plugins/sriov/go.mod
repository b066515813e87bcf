// The sriov-cni that the lab attaches VFs with: the newest that the module
// proxy serves, with the library versions it was written for.
module github.com/multibond/multibond/tests/lab/plugins/sriov

go 1.26.0

require github.com/k8snetworkplumbingwg/sriov-cni v2.1.0+incompatible

require (
	github.com/containernetworking/cni v0.6.0 // indirect
	github.com/containernetworking/plugins v0.7.4 // indirect
	github.com/coreos/go-iptables v0.8.0 // indirect
	github.com/intel/sriov-cni v2.1.0+incompatible // indirect
	github.com/onsi/ginkgo v1.16.5 // indirect
	github.com/onsi/gomega v1.44.0 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
	github.com/vishvananda/netlink v1.3.1 // indirect
	github.com/vishvananda/netns v0.0.5 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
