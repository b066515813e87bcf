# Prints the last lines of each failed test, from what "go test" printed of all of them.
# The lines of one test need not stand together, and those of a failed one may be
# thousands of lines above the end. A test in a guest is read like one of the host, and may
# run several times: the run that failed is the one to show. A test is left out if one of
# its subtests failed, which says more.

BEGIN { keep = 60 }

/^=== RUN / && !($3 in failed) { lines[$3] = 0 }

/^=== (RUN|CONT|NAME|PAUSE) / { test = $3; next }

/^ *--- (PASS|FAIL|SKIP): / {
	test = $3
	if ($2 == "FAIL:" && !(test in failed)) {
		failed[test] = FNR
		order[++failures] = test
		for (parent = test; sub("/[^/]*$", "", parent); )
			outer[parent]
	}
	next
}

# Without -v, what a failed test said follows its result.
test != "" && (!(test in failed) || failed[test] == FNR - 1) {
	line[test, ++lines[test]] = $0
	if (test in failed)
		failed[test] = FNR
}

END {
	for (i = 1; i <= failures; i++) {
		test = order[i]
		if (!lines[test] || test in outer)
			continue
		print "\n== the last lines of " test
		for (n = lines[test] > keep ? lines[test] - keep + 1 : 1; n <= lines[test]; n++)
			print line[test, n]
	}
}
