#!/usr/bin/env bash
# Makes what a test cluster needs beside the lab, below build/cluster: the
# control plane and etcd for this machine, and a disk for the guest with the
# kubelet, containerd, runc, the SR-IOV device plugin, a DRA driver, Multus and
# images. Nothing is installed and no root is needed. A second run does nothing.
set -euo pipefail
shopt -s nullglob

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
out=$root/build/lab # of packages.sh
tools=$out/tools
made=$root/build/cluster
PATH=$tools/usr/sbin:$tools/usr/bin:$tools/sbin:$tools/bin:$PATH:/usr/sbin:/sbin
name=cluster
. "$root/tests/lab/packages.sh"

kubernetes=v1.36.3
version="-X k8s.io/component-base/version.gitVersion=$kubernetes -X k8s.io/component-base/version.gitMajor=1
	-X k8s.io/component-base/version.gitMinor=36 -X k8s.io/client-go/pkg/version.gitVersion=$kubernetes"

compile() { "$root/tests/compile.sh" "$@" || exit 1; }
pinned() { sed -n 's/^.*_ "\(.*\)"$/\1/p' tools.go; }

# All of a module at once, so that what several programs need is compiled once.
programs() {
	(
		cd "$here/programs"
		compile "cluster: Kubernetes $kubernetes, etcd, containerd, Multus" "$disk/bin" "$version" ./kubernetes ./dra $(pinned)
		cd sriovdp
		compile 'cluster: the SR-IOV device plugin' "$disk/bin" '' $(pinned)
		cd "$root"
		compile 'cluster: what else runs on the node and in its pods' "$made/build" '' ./tests/cluster/{forward,pause} ./tests/demo/probe
	)
	mkdir -p "$made/bin"
	mv "$made/build/forward" "$disk/bin/"
	mv "$disk/bin/kubernetes" "$made/bin/"
	mv "$disk/bin/server" "$made/bin/etcd"
	local program
	for program in kube-apiserver kube-controller-manager kube-scheduler kubectl; do ln -sf kubernetes "$made/bin/$program"; done
}

# runc and its library, and the list that the device plugin reads.
packages() {
	. /etc/os-release
	components=universe
	[ "$ID" != debian ] || components=''
	[ -x "$tools/usr/sbin/runc" ] || fetch runc libseccomp2 pci.ids
	mkdir -p "$disk/lib" "$disk/share"
	cp -L "$tools/usr/sbin/runc" "$disk/bin/"
	cp -L "$tools"/usr/lib/x86_64-linux-gnu/libseccomp.so.2 "$disk/lib/"
	cp -L "$tools/usr/share/misc/pci.ids" "$disk/share/"
}

# The sandbox of every pod, and what the tests' pods are: a shell and the probe.
images() {
	local image='go run ./deploy/image' busybox
	busybox=$(PATH=$tools/usr/bin:$tools/bin:$PATH command -v busybox)
	mkdir -p "$disk/images"
	(
		cd "$root"
		$image -o "$disk/images/pause.tar" -name multibond.test/pause:1 -entrypoint /pause -file "/pause=$made/build/pause"
		$image -o "$disk/images/tools.tar" -name multibond.test/tools:1 -file "/bin/busybox=$busybox" -file "/bin/probe=$made/build/probe" \
			$(busybox --list | grep -vx busybox | sed 's|^|-link /bin/|; s|$|=busybox|')
	)
}

inputs() {
	(cd "$here" && cat setup.sh ../compile.sh $(find programs -type f | sort) forward/*.go pause/*.go && cd ../.. && cat deploy/{image,oci,archive}/*.go tests/demo/probe/*.go && go version) | sha256sum
}
current() { [ "$(cat "$made/stamp" 2>/dev/null)" = "$wanted" ]; }

have go || die "there is no go in PATH"
"$root/tests/lab/setup.sh"
wanted=$(inputs)
! current || exit 0
mkdir -p "$made"
exec 9>"$made/lock" && flock 9 # another one may be at it
! current || exit 0
disk=$made/disk
rm -rf "$disk" && mkdir -p "$disk"
programs
packages
images
say "packing the node's disk"
rm -f "$made/node.img.new"
mke2fs -q -t ext4 -O ^has_journal -d "$disk" -m 0 "$made/node.img.new" "$(($(du -sm "$disk" | cut -f1) + 40))M"
mv "$made/node.img.new" "$made/node.img"
rm -rf "$disk"
echo "$wanted" >"$made/stamp"
say "ready"
