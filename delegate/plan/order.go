package plan

// Order is the order in which a pod's networks are attached, by their
// places in rs: the first is the first, the others follow as they are given,
// but before a bond over links that are in the pod come the networks that make
// them. What is given in a circle stays as it is given.
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

// InOrder lists what order says.
func InOrder[T any](all []T, order []int) (out []T) {
	for _, i := range order {
		out = append(out, all[i])
	}
	return out
}
