// Dra is a DRA driver for VFs, as far as a pod's networks need one: it publishes
// the VFs that it is given, each with the PF that it is of, and hands them out
// untouched, for a CNI plugin to attach. The SR-IOV driver does so in its MULTUS
// mode, and names the devices and their attributes alike.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/dynamic-resource-allocation/resourceslice"
)

const driverName = "sriov.multibond.test"

func main() {
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig of a user who may read claims and write the node's slices")
	node := flag.String("node", "", "the node's name")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *kubeconfig, *node, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig, node string, vfs []string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(kubeletplugin.KubeletPluginsDir, driverName), 0o750); err != nil {
		return err
	}
	helper, err := kubeletplugin.Start(ctx, driver{}, kubeletplugin.DriverName(driverName), kubeletplugin.NodeName(node), kubeletplugin.KubeClient(client))
	if err != nil {
		return err
	}
	defer helper.Stop()
	var devices []resourcev1.Device
	for _, vf := range vfs {
		device, err := describe(vf)
		if err != nil {
			return err
		}
		devices = append(devices, device)
	}
	pool := resourceslice.Pool{Slices: []resourceslice.Slice{{Devices: devices}}}
	if err := helper.PublishResources(ctx, resourceslice.DriverResources{Pools: map[string]resourceslice.Pool{node: pool}}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// describe names a VF by its PCI address, with hyphens.
func describe(vf string) (resourcev1.Device, error) {
	pf, err := filepath.EvalSymlinks(filepath.Join("/sys/bus/pci/devices", vf, "physfn"))
	if err != nil {
		return resourcev1.Device{}, err
	}
	pf = filepath.Base(pf)
	return resourcev1.Device{
		Name: strings.NewReplacer(":", "-", ".", "-").Replace(vf),
		Attributes: map[resourcev1.QualifiedName]resourcev1.DeviceAttribute{
			"k8s.cni.cncf.io/deviceID": {StringValue: &vf},
			"pf":                       {StringValue: &pf},
		},
	}, nil
}

// driver prepares nothing.
type driver struct{}

func (driver) PrepareResourceClaims(_ context.Context, claims []*resourcev1.ResourceClaim) (map[types.UID]kubeletplugin.PrepareResult, error) {
	out := map[types.UID]kubeletplugin.PrepareResult{}
	for _, claim := range claims {
		var one kubeletplugin.PrepareResult
		for _, r := range claim.Status.Allocation.Devices.Results {
			if r.Driver == driverName {
				one.Devices = append(one.Devices, kubeletplugin.Device{Requests: []string{r.Request}, PoolName: r.Pool, DeviceName: r.Device})
			}
		}
		out[claim.UID] = one
	}
	return out, nil
}

func (driver) UnprepareResourceClaims(_ context.Context, claims []kubeletplugin.NamespacedObject) (map[types.UID]error, error) {
	out := map[types.UID]error{}
	for _, claim := range claims {
		out[claim.UID] = nil
	}
	return out, nil
}

func (driver) HandleError(_ context.Context, err error, what string) {
	fmt.Fprintln(os.Stderr, what, err)
}
