package netconf

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/strictjson"
)

// allowKeys are what a network can let its pods choose.
var allowKeys = []string{"count", "names", "near"}

// choiceKeys are the keys in args.cni by which a pod chooses, with what each of them
// chooses. The second of each is multi-nic-cni's.
var choiceKeys = map[string]string{"count": "count", "nics": "count", "names": "names", "masters": "names", "near": "near"}

// withChoices returns the fields and the elements of links of a network as its pod has
// chosen, by cni-args in its annotation, and the patterns for the names of NICs that it
// has chosen. It reports what the network does not allow. What a pod says to a network that
// has nothing to choose is for its IPAM.
func withChoices(top strictjson.Object, elements []strictjson.Object) (fields map[string]json.RawMessage, chosen []strictjson.Object, names []string) {
	hasPool := func(o strictjson.Object) bool { return o.Has("pool") }
	pools := slices.ContainsFunc(elements, hasPool)
	if !pools && !slices.ContainsFunc([]string{"allow", "attach", "near"}, top.Has) {
		return top.Fields, elements, nil
	}
	fields, chosen = maps.Clone(top.Fields), slices.Clone(elements)
	keys, o := readChoices(top)
	for _, key := range keys {
		switch choiceKeys[key] {
		case "near":
			fields["near"] = o.Fields[key]
		case "names":
			if names = readPatterns(o, key); !pools {
				top.Problems.Add(code.ChoicePool, o.At(key), "", "is chosen by the pod, but the network has no pool")
			}
		case "count":
			chooseCount(o, key, chosen)
		}
	}
	return fields, chosen, names
}

// readChoices returns the keys by which the pod chooses what the network allows, and the
// object that has them.
func readChoices(top strictjson.Object) (keys []string, cni strictjson.Object) {
	var allowed []string
	top.Read("allow", &allowed, "a list of what pods may choose")
	for i, one := range allowed {
		if !slices.Contains(allowKeys, one) {
			top.Problems.Add(code.WrongWord, fmt.Sprintf("allow[%d]", i), strictjson.DidYouMean(one, allowKeys), "is %q, want %s", one, strings.Join(allowKeys, ", "))
		}
	}
	args, _ := lenient(top.Fields).Object("args")
	given, _ := lenient(args.Fields).Object("cni")
	cni = strictjson.Object{Path: "args.cni", Fields: given.Fields, Problems: top.Problems}
	by := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(choiceKeys)) {
		what := choiceKeys[key]
		switch other, twice := by[what]; {
		case !cni.Has(key):
			continue
		case !slices.Contains(allowed, what):
			top.Problems.Add(code.NotAllowed, cni.At(key), fmt.Sprintf(`to let pods choose it, the network's configuration needs "allow": [%q]`, what), "is chosen by the pod, but the network does not allow it")
		case twice:
			top.Problems.Add(code.ChosenTwice, cni.At(key), "leave one of the two out", "is the same as %s", other)
		default:
			keys = append(keys, key)
		}
		by[what] = cni.At(key)
	}
	return keys, cni
}

// chooseCount gives the only pool of the links the count that the pod has chosen.
func chooseCount(o strictjson.Object, key string, elements []strictjson.Object) {
	var count int
	if !o.Read(key, &count, "a whole number") {
		return
	}
	if count < 1 || count > MaxLinks {
		o.Problems.Add(code.LinkCount, o.At(key), "", "is %d, want 1 to %d", count, MaxLinks)
		return
	}
	var pools []int
	for i, one := range elements {
		if one.Has("pool") {
			pools = append(pools, i)
		}
	}
	if len(pools) != 1 {
		o.Problems.Add(code.ChoicePool, o.At(key), "", "is chosen by the pod, but the network has %d pools, and it can only be that of one", len(pools))
		return
	}
	at := &elements[pools[0]]
	at.Fields = maps.Clone(at.Fields)
	at.Fields["count"] = o.Fields[key]
}
