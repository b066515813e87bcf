package netconf

import (
	"strconv"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/strictjson"
)

// readMinLinks returns how many of its links the network needs to start, and checks that
// the elements of links stand for that many. In mode 802.3ad minLinks is also an option of
// the kernel.
func readMinLinks(top strictjson.Object, elements []strictjson.Object, options bond.Options, attach string) int {
	least, _ := strconv.Atoi(options[bond.MinLinks])
	total := totalOf(elements)
	what := map[int]string{0: "has no link", 1: "has one link"}[total]
	switch isBond := attach == ""; {
	case total == 0 && !isBond:
		top.Problems.Add(code.FewLinks, "links", `for two interfaces: "links": [{"deviceID": "0000:3b:02.1"}, {"deviceID": "0000:5e:02.1"}]`, "%s", what)
	case total == 0, total == 1 && least != 1 && isBond:
		top.Problems.Add(code.FewLinks, "links", `for a bond over two VFs: "links": [{"deviceID": "0000:3b:02.1"}, {"deviceID": "0000:5e:02.1"}]; to allow one link: "minLinks": 1`, "%s, but a bond needs at least two", what)
	}
	if least > total && total > 0 {
		top.Problems.Add(code.MinLinksAbove, bond.MinLinks, "", "is %d, but there are %d links", least, total)
	}
	return least
}

// totalOf returns how many links the elements of links stand for.
func totalOf(elements []strictjson.Object) (total int) {
	for _, o := range elements {
		total += countOf(o)
	}
	return total
}

// countOf returns how many links an element of links stands for. It ignores a count that
// is wrong, because the agent, which resolves such links, reports it.
func countOf(o strictjson.Object) int {
	count := 1
	lenient(o.Fields).Read("count", &count, "")
	return max(count, 1)
}
