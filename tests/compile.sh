#!/usr/bin/env bash
# Compiles Go programs and shows on standard error how far it is: in a line that
# changes on a terminal, in one every 20 seconds elsewhere. What go prints is shown
# if it fails.
#
#	compile.sh what directory linker-flags packages
set -euo pipefail

what=$1 out=$2 linker=$3
shift 3
log=$(mktemp)
trap 'rm -f "$log" "$log.stale"; [ -z "${running-}" ] || kill "$running" 2>/dev/null || true' EXIT
if [ -t 2 ]; then every=1 begin='\r\e[K' end=''; else every=20 begin='' end='\n'; fi

show() { printf "$begin%s: %s$end" "$what" "$1" >&2; }

# Shows the text that a function makes as long as the process in the background runs.
follow() { # function
	local next=$((SECONDS + every))
	running=$!
	while kill -0 "$running" 2>/dev/null; do
		if [ $SECONDS -ge $next ]; then show "$("$1")"; next=$((SECONDS + every)); fi
		sleep 0.2
	done
	wait "$running" || failed
	running=
}

failed() {
	printf "$begin" >&2
	grep -v -e '^go: downloading ' -e '^[^ ]*$' "$log" >&2 || cat "$log" >&2
	echo "$what: does not compile" >&2
	exit 1
}

downloaded() { echo "downloading modules, $(grep -c '^go: downloading ' "$log") so far"; }

# Go names a package when it begins with it. The estimate is a straight line.
compiled() {
	local done left=''
	done=$(grep -c '^[^ ]*$' "$log") || true
	if [ $((done * 20)) -ge "$stale" ]; then
		left=$(((SECONDS - began) * (stale - done) / done))
		left=", about $([ $left -lt 60 ] && echo "$left s" || echo "$(((left + 30) / 60)) min") left"
	fi
	echo "compiling, $((done < stale ? done : stale)) of $stale packages$left"
}

# As in the Makefile, so that packages are compiled once for all.
export CGO_ENABLED=0 GOFLAGS="$(go env GOFLAGS) -trimpath -gcflags=all=-dwarf=false"
go list -deps -f '{{if .Stale}}{{.ImportPath}}{{end}}' "$@" >"$log.stale" 2>"$log" &
follow downloaded
stale=$(wc -l <"$log.stale")
began=$SECONDS
mkdir -p "$out"
go build -v -ldflags "-s -w $linker" -o "$out/" "$@" >"$log" 2>&1 &
follow compiled
printf "$begin%s: compiled in %s s\n" "$what" "$SECONDS" >&2
