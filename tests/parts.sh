#!/usr/bin/env bash
# Runs verbs of the Makefile one after the other, and reports how long each took. It
# stops at the first that fails, and ends with the last lines of each test that failed.
# A verb can set variables: "faults SEED=2".
set -uo pipefail
cd "$(dirname "$0")/.."

done=() seconds=()
output=$(mktemp)
trap 'rm -f "$output"' EXIT

report() {
	local i total=0
	echo
	for i in "${!done[@]}"; do
		printf '%-20s %3d min %02d s\n' "${done[i]}" $((seconds[i] / 60)) $((seconds[i] % 60))
		total=$((total + seconds[i]))
	done
	printf '%-20s %3d min %02d s\n' all $((total / 60)) $((total % 60))
}

for verb; do
	echo "== make $verb (part $((${#done[@]} + 1)) of $#)"
	began=$SECONDS
	# shellcheck disable=SC2086 # the words of a verb are arguments
	make --no-print-directory $verb 2>&1 | tee "$output"
	status=$?
	done+=("$verb") seconds+=($((SECONDS - began)))
	if [ $status != 0 ]; then
		awk -f tests/failed.awk "$output"
		report
		echo "make $verb failed"
		exit 1
	fi
done
report
