# Prints the last lines of each failed test, from what "go test" printed of all of them.
# The lines of one test need not stand together, and those of a failed one may be
# thousands of lines above the end. A test that ran in a guest is named after the test of
# the host and its own, of which the lines are indented. Several guests may run the same
# test at once or one after the other. A test is left out if one of its subtests failed,
# which says more.

BEGIN { keep = 60 }

function name(test) { return (host, test) in guests ? host " " test : test }

/^=== (RUN|CONT|NAME|PAUSE) / { host = $3; test = last[host] ? last[host] : host; next }

/^ +=== RUN / { guests[host, $3]; if (!(name($3) in failed)) lines[name($3)] = 0 }

/^ +=== (RUN|CONT|NAME|PAUSE) / { test = last[host] = name($3); next }

/^--- / { last[host] = host = "" }

/^ *--- (PASS|FAIL|SKIP): / {
	test = name($3)
	if ($2 == "FAIL:" && !(test in failed)) {
		failed[test] = FNR
		order[++failures] = test
		for (parent = test; sub("/[^/ ]*$", "", parent); )
			outer[parent]
	}
	if (host != "")
		last[host] = ""
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
