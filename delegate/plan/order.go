package plan

// Order returns the order in which a pod's networks are attached, as indexes of rs. The
// first stays first. The others stay in their order, except that a network comes after
// those that make the interfaces that it needs in the pod: a bond after its links, a VLAN
// after the bond that it is over. A cycle stays in its order.
func Order(rs []Request) (order []int) {
	maker := map[string]int{}
	for i, r := range rs {
		maker[r.IfName] = i
	}
	seen := make([]bool, len(rs))
	var attach func(i int)
	attach = func(i int) {
		if seen[i] {
			return
		}
		seen[i] = true
		if i > 0 { // a pod has its default network before all others
			for _, name := range rs[i].Network.PodLinks {
				if from, made := maker[name]; made {
					attach(from)
				}
			}
		}
		order = append(order, i)
	}
	for i := range rs {
		attach(i)
	}
	return order
}

// InOrder returns the elements of all in that order.
func InOrder[T any](all []T, order []int) (out []T) {
	for _, i := range order {
		out = append(out, all[i])
	}
	return out
}
