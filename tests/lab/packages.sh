# Debian packages without an installation: they come by way of an apt
# configuration of our own, below $out/apt, and are unpacked to $tools. To be
# read by a script that sets out, tools and name, and may set arch and foreign: an
# architecture beside the machine's, and where its packages are unpacked to.

say() { echo "$name: $*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$@" >/dev/null; }

apt() { # get|cache, arguments
	local program=apt-$1; shift
	LC_ALL=C "$program" -qq -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$out/apt/sources" \
		-o Dir::State::lists="$out/apt/lists" -o Dir::Cache="$out/apt/cache" -o Debug::NoLocking=1 \
		-o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Acquire::Languages=none \
		-o APT::Sandbox::User=root "${architectures[@]}" "$@"
}

architectures=()
[ "${arch:-amd64}" = amd64 ] || architectures=(-o APT::Architectures::=amd64 -o "APT::Architectures::=$arch")

# Runs one of these functions for packages of the guest's architecture, of which the
# machine has none.
of_guest() { # function, arguments
	if [ "$arch" = amd64 ]; then "$@"; return; fi
	local tools=$foreign architectures=("${architectures[@]}" -o "APT::Architecture=$arch" -o "Dir::Cache=$out/apt/cache-$arch" -o "Dir::State::status=$out/apt/status")
	mkdir -p "$out/apt/cache-$arch/archives/partial"
	touch "$out/apt/status"
	"$@"
}

# The mirror that this machine takes a suite from.
mirror() { apt-get update --print-uris | sed -n "s|^'\(.*\)/dists/$1/InRelease'.*|\1|p" | head -1; }

# The keyring that this machine trusts that mirror by, if its sources name one.
keyring() {
	cat /dev/null /etc/apt/sources.list.d/*.sources | awk -v RS= -v uri="$1" 'index($0, uri)' | grep '^Signed-By: */' || true
	cat /dev/null /etc/apt/sources.list* /etc/apt/sources.list.d/*.list 2>/dev/null | grep -F "$1" |
		sed -n 's/^deb .*signed-by=\([^] ]*\).*/Signed-By: \1/p'
}

source_entry() { # uri, suites; no uri, no entry
	[ -z "$1" ] || printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main %s\n%s\n\n' \
		"$1" "${*:2}" "$components" "$(keyring "$1" | head -1)"
}

# Reads the lists of this release's suites, and of those of Debian 12, which has
# both kernels. A suite that is not there is no error: another may do.
package_lists() { # further suites
	[ -z "${lists_read-}" ] || [ $# -gt 0 ] || return 0
	have apt-get || die "no apt-get here: put qemu-system-x86_64 >= 8.0 (or set LAB_QEMU), busybox, ip, bridge" \
		"and zstd in PATH, and unpack a kernel package into $out/kernels/6.1/root, another into .../6.12/root"
	say "reading the package lists"
	mkdir -p "$out"/apt/{sources,lists/partial,cache/archives/partial}
	local own security old='' old_security='' components=universe
	own=$(mirror "$VERSION_CODENAME") security=$(mirror "$VERSION_CODENAME-security")
	[ -n "$own" ] || die "apt on this machine has no source for $VERSION_CODENAME"
	if [ "$ID" = debian ]; then components='' old='bookworm bookworm-backports' old_security=bookworm-security; fi
	{
		source_entry "$own" "$VERSION_CODENAME" "$VERSION_CODENAME"-{updates,backports} $old "$@"
		source_entry "$security" "$VERSION_CODENAME-security" $old_security
	} >"$out/apt/sources/lab.sources"
	apt get update >"$out/apt/log" 2>&1 || say "some lists cannot be read: $(tail -1 "$out/apt/log")"
	lists_read=yes
}

# Unpacks packages, and those that they depend on and the machine lacks.
tool() { # apt-get's options, packages
	package_lists
	say "downloading ${*: -1}"
	apt get install -y --download-only --no-install-recommends "$@" >"$out/apt/log" 2>&1 ||
		die "cannot get ${*: -1}: $(tail -1 "$out/apt/log")"
	local deb
	for deb in "$out"/apt/cache*/archives/*.deb; do dpkg -x "$deb" "$tools" && rm "$deb"; done
}

# Packages themselves, whether the machine has them or not.
fetch() { # packages
	package_lists
	say "downloading $*"
	mkdir -p "$out/apt/deb"
	(cd "$out/apt/deb" && apt get download "$@" >"$out/apt/log" 2>&1) || die "cannot get $*: $(tail -1 "$out/apt/log")"
	local deb
	for deb in "$out"/apt/deb/*.deb; do dpkg -x "$deb" "$tools" && rm "$deb"; done
}
