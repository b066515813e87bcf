package netconf

import (
	"strconv"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/strictjson"
)

// readMinLinks returns how many of its links the bond needs to start, and checks that
// the elements of links stand for that many. In mode 802.3ad minLinks is
// also an option of the kernel.
func readMinLinks(top strictjson.Object, elements []strictjson.Object, options bond.Options) int {
	least, _ := strconv.Atoi(options[bond.MinLinks])
	total := 0
	for _, o := range elements {
		total += countOf(o)
	}
	if least > total && total > 0 {
		top.Problems.Add(bond.MinLinks, "", "is %d, but the bond has %d links", least, total)
	}
	if total == 0 || total == 1 && least != 1 {
		what := map[int]string{0: "has no link", 1: "has one link"}[total]
		top.Problems.Add("links", `for a bond over two VFs: "links": [{"deviceID": "0000:3b:02.1"}, {"deviceID": "0000:5e:02.1"}]; to allow one link: "minLinks": 1`, "%s, but a bond needs at least two", what)
	}
	return least
}

// countOf returns how many links an element of links stands for. It ignores a count that
// is wrong, because the agent, which resolves such links, reports it.
func countOf(o strictjson.Object) int {
	count := 1
	lenient(o.Fields).Read("count", &count, "")
	return max(count, 1)
}
