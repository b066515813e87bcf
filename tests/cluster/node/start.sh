#!/bin/sh
# Makes a Kubernetes node of the lab's guest. Arguments: the node's name and its
# number, the API server's cluster address and port, and where it really is.
set -eu
export PATH=/opt/node/bin:/usr/sbin:/usr/bin:/opt/cni/bin
node=$1 number=$2 cluster=$3 api=$4 log=/var/log/node

mkdir -p /opt/node $log /var/lib/kubelet /etc/cni/net.d /usr/share/misc /etc/containerd /run/containerd
mount -t ext4 -o ro /dev/vda /opt/node
cp /opt/node/share/pci.ids /usr/share/misc/
cp /opt/node/lib/* /usr/lib/x86_64-linux-gnu/
echo "127.0.0.1 localhost" >/etc/hosts
: >/etc/resolv.conf
echo "root:x:0:0:root:/root:/bin/sh" >/etc/passwd

# The uplink is the one NIC that is no igb's.
for dev in /sys/class/net/*; do
	case $(readlink "$dev/device/driver") in */virtio_net) uplink=${dev##*/} ;; esac
done
ip link set "$uplink" up
ip addr add 10.0.2.15/24 dev "$uplink"
ip route add default via 10.0.2.2
ip addr add "${cluster%:*}/32" dev lo
echo 1 >/proc/sys/net/ipv4/ip_forward

# udev makes MACs of VFs by the machine's id, which is the same in all guests.
if [ "$number" != 0 ]; then
	for vf in /sys/class/net/enp*v*; do
		read -r mac <"$vf/address"
		ip link set "${vf##*/}" address "${mac%%:*}:0$number:${mac#*:*:}"
	done
fi

cp /lab/node/default.conflist /etc/cni/net.d/10-default.conflist
forward "$cluster" "$api" >$log/forward 2>&1 &
containerd --config /lab/node/containerd.toml >$log/containerd 2>&1 &
# A call that comes while containerd starts may never be answered.
while ! ctr --timeout 5s version >/dev/null 2>&1; do sleep 0.2; done
for image in /opt/node/images/*; do ctr -n k8s.io image import --local "$image" >/dev/null; done
kubelet --config=/lab/node/kubelet.yaml --kubeconfig=/lab/node/kubelet.conf --hostname-override="$node" --node-ip=10.0.2.15 \
	--cert-dir=/var/lib/kubelet/pki >$log/kubelet 2>&1 &
while [ ! -S /var/lib/kubelet/device-plugins/kubelet.sock ]; do sleep 0.2; done
sriovdp --config-file /lab/node/pools.json --resource-prefix intel.com >$log/sriovdp 2>&1 &
