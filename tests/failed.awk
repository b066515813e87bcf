# Prints the last lines of each failed test, from what "go test" printed of all of them.
# The lines of one test need not stand together, and those of a failed one may be
# thousands of lines above the end. A test in a guest is read like one of the host.

BEGIN { keep = 60 }

/^=== (RUN|CONT|NAME|PAUSE) / { test = $3; next }

/^ *--- (PASS|FAIL|SKIP): / {
	test = $3
	if ($2 == "FAIL:" && !(test in failed)) {
		failed[test] = 1
		order[++failures] = test
	}
	next
}

test != "" { line[test, ++lines[test]] = $0 }

END {
	for (i = 1; i <= failures; i++) {
		test = order[i]
		if (!lines[test])
			continue
		print "\n== the last lines of " test
		for (n = lines[test] > keep ? lines[test] - keep + 1 : 1; n <= lines[test]; n++)
			print line[test, n]
	}
}
