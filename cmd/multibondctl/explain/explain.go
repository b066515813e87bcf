// Package explain has a page for each kind of problem of package bond/code: what is wrong,
// why that matters, an example of the mistake and one of the remedy.
//
// Only the operator's tool imports it. The plugin starts several times for each pod, and
// has no use for texts.
package explain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/multibond/multibond/bond/code"
)

// Page explains one kind of problem.
type Page struct {
	Code  code.Code
	Title string // a few words
	Text  string // what is wrong, and why it matters

	// An example, if a few words make one: the mistake, and the same without it. They are
	// written into a network's configuration, a pod's annotation, or the cluster's
	// configuration.
	In, Mistake, Remedy string
}

// Where an example is written.
const (
	Network    = "network"
	Annotation = "annotation"
	Cluster    = "cluster"
)

// Groups lists what the hundreds of codes are about.
var Groups = map[int]string{
	1: "JSON, keys and values", 2: "links", 3: "options of the bond", 4: "pools, interfaces without a bond, what a pod may choose",
	5: "what the node has", 6: "annotations, NADs and devices of pods", 7: "the cluster's configuration", 8: "bond-cni's configurations", 9: "running bonds",
}

// Pages lists all pages, sorted by code.
var Pages = slices.Concat(text, links, options, pools, node, pods, cluster, bondCNI, running)

// Find returns the page of a code as it is shown, such as "MB204", in any case, with or
// without MB.
func Find(word string) (Page, error) {
	number, err := strconv.Atoi(strings.TrimPrefix(strings.ToUpper(word), "MB"))
	i := slices.IndexFunc(Pages, func(p Page) bool { return int(p.Code) == number })
	if err != nil || i < 0 {
		return Page{}, fmt.Errorf("there is no code %q; want one of MB%d to MB%d", word, Pages[0].Code, Pages[len(Pages)-1].Code)
	}
	return Pages[i], nil
}

// String returns the page as it is printed.
func (p Page) String() string {
	lines := []string{fmt.Sprintf("%s: %s (%s)", p.Code, p.Title, Groups[int(p.Code)/100]), ""}
	lines = append(lines, Wrap(p.Text, 96)...)
	if p.Mistake != "" {
		lines = append(lines, "", "Example, in "+where[p.In]+":", "")
		lines = append(append(lines, indented("wrong: ", p.Mistake)...), indented("right: ", p.Remedy)...)
	}
	return strings.Join(lines, "\n")
}

// indented returns an example in lines, below each other.
func indented(head, example string) (lines []string) {
	for _, line := range Wrap(example, 86) {
		lines, head = append(lines, "    "+head+line), strings.Repeat(" ", len(head))
	}
	return lines
}

var where = map[string]string{
	Network: "a network's configuration", Annotation: "the annotation k8s.v1.cni.cncf.io/networks of a pod", Cluster: "the cluster's configuration",
}

// Wrap returns the text in lines of at most so many bytes.
func Wrap(text string, most int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > most {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
