#!/usr/bin/env bash
# Makes all that the lab's VM needs, below build/lab: QEMU, kernels with an
# initramfs each, udev, and the CNI plugins. Nothing is installed and no root is
# needed: packages come by way of an apt configuration of our own, and are
# unpacked. What is there already stays; a second run does nothing.
#
# LAB_ARCH: the guest's architecture, amd64 or arm64, which has all its own below
# build/lab-arm64. Default: amd64.
# LAB_QEMU: a qemu-system-x86_64 (or -aarch64) to use instead of the one that is found.
# KERNELS: series of kernels, instead of 6.1 and 6.12 (arm64: 6.12). 6.12-16k is arm64's
# with pages of 16 KiB.
set -euo pipefail
shopt -s nullglob

# What the guest's kernels need beside what is built in. What these depend on is
# found below. The NICs' drivers are loaded first: they sleep a lot.
nic_modules='igb igbvf'
other_modules='virtio_pci virtio_console 9pnet_virtio 9p bonding veth macvlan ipvlan 8021q vrf bridge dummy tun
	overlay xfrm_user nfnetlink uio_pci_generic'
cluster_modules='virtio_net virtio_blk crc32c_generic ext4' # only loaded where the guest has a disk

lab=$(cd "$(dirname "$0")" && pwd)
arch=${LAB_ARCH:-amd64}
case $arch in
amd64) out=build/lab emulator=qemu-system-x86_64 emulator_package=qemu-system-x86 default_kernels='6.1 6.12' ;;
arm64) out=build/lab-arm64 emulator=qemu-system-aarch64 emulator_package=qemu-system-arm default_kernels=6.12 ;;
*) echo "lab: LAB_ARCH is $arch, want amd64 or arm64" >&2; exit 1 ;;
esac
out=$(cd "$lab/../.." && pwd)/$out
tools=$out/tools
foreign=$out/foreign # programs for a guest of another architecture
libs=$tools/usr/lib/x86_64-linux-gnu:$tools/lib/x86_64-linux-gnu:$tools/usr/lib/x86_64-linux-gnu/systemd
PATH=$tools/usr/sbin:$tools/usr/bin:$tools/sbin:$tools/bin:$PATH:/usr/sbin:/sbin:$tools/usr/lib/systemd:$tools/lib/systemd:/usr/lib/systemd

name=lab
. "$lab/packages.sh"

# ---- programs -------------------------------------------------------------

# The wrapper is what the lab starts, whichever QEMU is behind it. It finds the tools
# beside itself, so that build/ can be moved.
qemu() {
	cat >"$out/qemu" <<-END
		#!/bin/sh
		tools=\$(dirname "\$(readlink -f "\$0")")/tools
		PATH="\$tools/usr/bin:\$PATH" LD_LIBRARY_PATH="\$tools/usr/lib/x86_64-linux-gnu:\$tools/lib/x86_64-linux-gnu" \\
		exec "${LAB_QEMU:-$emulator}" -L "\$tools/usr/share/qemu" -L "\$tools/usr/share/seabios" "\$@"
	END
	chmod +x "$out/qemu"
	has_igb && return
	[ -z "${LAB_QEMU-}" ] || die "LAB_QEMU=$LAB_QEMU has no igb device, which came with QEMU 8.0"
	package_lists
	if dpkg --compare-versions "$(apt cache policy $emulator_package | awk '/Candidate/{print $2}')" ge 1:8; then
		tool $emulator_package
	else
		tool -t "$VERSION_CODENAME-backports" $emulator_package
	fi
	has_igb || die "this release has no QEMU with an igb device (8.0 or newer): set LAB_QEMU"
}

has_igb() { "$out/qemu" -machine none -device help 2>/dev/null | grep -q '"igb"'; }

programs() {
	have busybox || tool busybox-static
	have zstd || tool zstd
	have xz || tool xz-utils
	if [ $arch = amd64 ]; then own_programs; else foreign_programs; fi
	qemu
}

own_programs() {
	have ip && have bridge || tool iproute2
	have udevadm && have systemd-networkd || udev
}

# All that the guest needs: of another architecture, the machine has nothing.
foreign_programs() {
	[ ! -d "$foreign" ] || return 0
	rm -rf "$foreign.part"
	foreign=$foreign.part of_guest tool busybox-static iproute2 bash dash util-linux coreutils systemd udev
	mv "$foreign.part" "$foreign"
}

# udev and networkd themselves, whatever parts of systemd the machine has, and those
# of their libraries that it lacks.
udev() {
	fetch udev systemd libsystemd-shared
	! missing_library udevadm systemd-networkd ||
		tool libacl1 libapparmor1 libaudit1 libblkid1 libcap2 libcrypt1 libgcrypt20 libip4tc2 libkmod2 liblz4-1 libmount1 libpam0g libseccomp2 libselinux1
}

missing_library() { # programs
	local name
	for name; do LD_LIBRARY_PATH=$libs ldd "$(command -v "$name")"; done | grep 'not found' >/dev/null
}

# ---- kernels --------------------------------------------------------------

# Mirrors drop old kernels, so whichever is newest in its series is taken.
debian_kernel() { # series
	[ ! -d "$out/kernels/$1/root" ] || return 0
	package_lists
	local package
	package=$(kernel_package "$1")
	[ -n "$package" ] || { package_lists trixie-backports sid && package=$(kernel_package "$1"); }
	[ -n "$package" ] || die "no Debian kernel $1 for $arch in the package lists"
	unpack_kernel "$1" "$package" $(kernel_parts "$package")
}

# A series can end with a flavour: 6.12-16k.
kernel_package() { # series
	local number=${1%-*} flavour=
	[ "$number" = "$1" ] || flavour=-${1##*-}
	of_guest apt cache search --names-only "^linux-image-${number/./\\.}\.[^-]*(-[0-9]+)?-$arch$flavour$" | cut -d' ' -f1 | sort -V | tail -1
}

# Since 7.2 the kernel and its modules are in packages that the image's depends on.
kernel_parts() { # package
	of_guest apt cache depends "$1" | sed -nE 's/^ *Depends: (linux-(binary|modules)-.*)/\1/p'
}

# Ubuntu has no kernel of Debian's: the newest of each of its own last two series,
# in three packages each. Written from the archive's listing, never tried.
ubuntu_kernels() {
	local kernels=("$out"/kernels/*/root) all series version
	[ ${#kernels[@]} = 0 ] || return 0
	package_lists
	all=$(apt cache search --names-only '^linux-image-unsigned-[0-9.]+-[0-9]+-generic$' |
		sed 's/^linux-image-unsigned-\([^ ]*\).*/\1/' | sort -V)
	for series in $(cut -d. -f1,2 <<<"$all" | sort -Vu | tail -2); do
		version=$(grep "^${series/./\\.}\." <<<"$all" | tail -1)
		unpack_kernel "$series" linux-{image-unsigned,modules,modules-extra}-"$version"
	done
}

unpack_kernel() { # series, packages
	local dir=$out/kernels/$1 deb
	say "downloading $2"
	rm -rf "$dir" && mkdir -p "$dir/deb" "$dir/part"
	(cd "$dir/deb" && of_guest apt get download "${@:2}" >"$out/apt/log" 2>&1) || die "cannot get ${*:2}: $(tail -1 "$out/apt/log")"
	for deb in "$dir"/deb/*.deb; do dpkg -x "$deb" "$dir/part"; done
	[ -d "$dir/part/lib" ] || ln -s usr/lib "$dir/part/lib"
	rm -r "$dir/deb" "$dir"/part/lib/modules/*/kernel/{sound,drivers/{gpu,media}} # large, and never in a VM
	echo "${*:2}" >"$dir/version"
	mv "$dir/part" "$dir/root"
}

# The kernel as it is inside of its self-extracting image (the boot protocol's
# setup_sects, payload_offset and payload_length say where): a guest that need not
# unpack it is up 2 to 5 s earlier. Only amd64's is such an image.
vmlinux() { # bzImage
	[ $arch = amd64 ] || { cat "$1"; return; }
	local sects offset length
	sects=$(od -An -tu1 -j$((0x1f1)) -N1 "$1")
	read -r offset length < <(od -An -tu4 -j$((0x248)) -N8 "$1")
	tail -c +$(((sects + 1) * 512 + offset + 1)) "$1" | head -c $((length - 4)) >"$1.payload"
	case $(od -An -tx1 -N4 "$1.payload") in
	' fd 37 7a 58') xz -dc "$1.payload" ;;
	' 28 b5 2f fd') zstd -qdc "$1.payload" ;;
	*) cat "$1" ;;
	esac
	rm "$1.payload"
}

# ---- the guest ------------------------------------------------------------

# Copies a module after those that it depends on, and prints their paths in that
# order. The guest is slow at unpacking and at looking for what depends on what.
module() { # name, kernel tree, guest tree
	local path to need
	path=$(cd "$2" && find lib/modules -name "${1//[-_]/[-_]}.ko*")
	to=$3/${path%.ko*}.ko
	[ -n "$path" ] && [ ! -e "$to" ] || return 0 # built in, or there
	mkdir -p "${to%/*}"
	case $path in
	*.xz) xz -dc "$2/$path" ;;
	*.zst) zstd -qdc "$2/$path" ;;
	*) cat "$2/$path" ;;
	esac >"$to"
	for need in $(tr '\0' '\n' <"$to" | sed -n 's/^depends=//p' | tr , ' '); do module "$need" "$2" "$3"; done
	echo "/${to#"$3/"}"
}

# Busybox has namesakes of most programs, but they know no bonds and no JSON, and its
# shell prefers them to PATH.
guest_programs='busybox ip bridge bash dash nsenter unshare timeout udevadm systemd-networkd'

programs_for() { # guest tree
	local name
	if [ $arch = amd64 ]; then copy_own "$1"; else copy_foreign "$1"; fi
	ln -s dash "$1/usr/bin/sh"
	ln -s udevadm "$1/usr/bin/systemd-udevd"
	busybox --list | while read -r name; do ln -s busybox "$1/usr/bin/$name" 2>/dev/null || true; done
}

# Copies programs of this machine with their libraries.
copy_own() { # guest tree
	local name file
	for name in $guest_programs; do
		cp -L "$(command -v $name)" "$1/usr/bin/"
		LD_LIBRARY_PATH=$libs ldd "$(command -v $name)" 2>/dev/null | grep -o '/[^ ]*' || true # busybox is static
	done | sort -u | while read -r file; do
		mkdir -p "$1$(dirname "${file#"$tools"}")" && cp -L "$file" "$1${file#"$tools"}"
	done
}

# Copies programs that this machine cannot execute with their libraries, whose names they have.
copy_foreign() { # guest tree
	local name file
	for name in $guest_programs; do
		file=$(find "$foreign"/{,usr/}{bin,sbin} "$foreign"/lib/systemd -name "$name" | head -1)
		cp -L "$file" "$1/usr/bin/"
		libraries "$file" "$1"
	done
}

libraries() { # file, guest tree
	local name path
	for name in $(grep -aoE '(lib|ld-linux-)[A-Za-z0-9_+.-]*\.so\.[0-9.]*[0-9]' "$1" | sort -u); do
		for path in $(cd "$foreign" && find lib usr/lib -name "$name"); do # the linker is in two places
			[ ! -e "$2/$path" ] || continue
			mkdir -p "$2/${path%/*}" && cp -L "$foreign/$path" "$2/$path"
			libraries "$foreign/$path" "$2"
		done
	done
}

# The rules for network interfaces, and Debian's policy for their names and MACs. The
# other rules are for devices that the guest does not have, or load modules.
udev_rules() { # guest tree
	local lib
	if [ $arch = amd64 ]; then lib=$(dirname "$(dirname "$(command -v udevadm)")")/lib; else lib=$foreign/lib; fi
	mkdir -p "$1"/usr/lib/{udev/rules.d,systemd/network}
	cp "$lib"/udev/rules.d/{75-net-description,80-net-setup-link}.rules "$1/usr/lib/udev/rules.d/"
	cp "$lib/systemd/network/99-default.link" "$1/usr/lib/systemd/network/"
	echo 6d756c7469626f6e642d6c61622d3031 >"$1/etc/machine-id" # from which udev makes MACs
	printf '%s\n' root:x:0:0:root:/root:/bin/sh systemd-network:x:998:998:networkd:/:/bin/false >"$1/etc/passwd"
}

guest() { # kernel's directory
	local root=$1/root tree=$1/tree name
	rm -rf "$tree" && mkdir -p "$tree"/{proc,sys,dev,run,tmp,var,lab,root,opt/cni,etc,usr/{bin,sbin,lib}}
	for name in bin sbin lib; do ln -s usr/$name "$tree/$name"; done
	programs_for "$tree"
	udev_rules "$tree"
	for name in $nic_modules; do module "$name" "$root" "$tree"; done >"$tree/etc/modules.nic"
	for name in $other_modules; do module "$name" "$root" "$tree"; done >"$tree/etc/modules"
	for name in $cluster_modules; do module "$name" "$root" "$tree"; done >"$tree/etc/modules.cluster"
	# For modprobe, to which what a module depends on is there already.
	(cd "$tree"/lib/modules/* && find . -name '*.ko' -printf '%P:\n' >modules.dep)
	cp "$lab/init" "$tree/init"
	cp "$out/guest/guest" "$tree/usr/sbin/agent"
	cp -r "$out/cni" "$tree/opt/cni/bin"
	(cd "$tree" && find . | busybox cpio -o -H newc -R 0:0 2>/dev/null) >"$1/initramfs.new"
	mv "$1/initramfs.new" "$1/initramfs" # whole, or not there
	[ -e "$1/vmlinux" ] || { vmlinux "$root"/{boot/vmlinuz-*,lib/modules/*/vmlinuz} >"$1/vmlinux.new" && mv "$1/vmlinux.new" "$1/vmlinux"; }
	rm -r "$tree"
}

# The agent and the plugins, side by side with the downloads.
compile() {
	local set
	(
		export GOARCH=$arch
		cd "$lab/../.."
		"$lab/../compile.sh" "lab: the guest's agent" "$out/guest" '' ./tests/lab/guest
		for set in sriov standard; do
			cd "$lab/plugins/$set"
			"$lab/../compile.sh" "lab: plugins, $set" "$out/cni" '' $(sed -n 's/^.*_ "\(.*\)"$/\1/p' *.go)
		done
	) >"$out/compile.log" 2>&1
}

# ---- all ------------------------------------------------------------------

# What the result depends on.
inputs() {
	(cd "$lab" && cat setup.sh packages.sh ../compile.sh init guest/*.go internal/*/*.go plugins/*/* && echo "${LAB_QEMU-}" && go version) | sha256sum
}
current() {
	local series
	[ "$(cat "$out/stamp" 2>/dev/null)" = "$wanted" ] || return
	for series in $kernels; do [ -e "$out/kernels/$series/initramfs" ] || return; done
}

have go || die "there is no go in PATH"
. /etc/os-release
wanted=$(inputs) kernels=${KERNELS:-$default_kernels}
[ "$ID" != ubuntu ] || kernels=''
! current || exit 0
[ "$(uname -m)" = x86_64 ] || die "the lab's packages are unpacked on x86-64 only, and this machine is not"
mkdir -p "$out/cni"
exec 9>"$out/lock" && flock 9 # another one may be at it
! current || exit 0
say "compiling the agent, sriov-cni and the standard plugins"
compile & compiling=$!
programs
if [ "$ID" = ubuntu ]; then ubuntu_kernels; else for series in $kernels; do debian_kernel "$series"; done; fi
wait $compiling || die "does not compile: $(cat "$out/compile.log")"
say "packing the guests"
for kernel in "$out"/kernels/*/root; do guest "${kernel%/root}"; done
echo "$wanted" >"$out/stamp"
say "ready"
