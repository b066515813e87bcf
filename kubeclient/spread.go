package kubeclient

import (
	"slices"
	"strings"
)

// spread picks counts[i] devices for each group i. It uses as many different PFs
// within a group as possible, summed over all groups. Among equal choices it takes
// the first in the order of devices, but prefers a PF of another card. There must be
// at least as many devices as the sum of counts. A device without a PF shares its PF
// with no other.
func spread(devices []string, counts []int, pfOf func(string) string) [][]string {
	p := newPicker(devices, pfOf)
	out := make([][]string, len(counts))
	for i, count := range counts {
		used := make([]bool, len(p.left))
		for k := count; k > 0; k-- {
			at := p.next(k, used, counts[i+1:])
			p.taken[at] = true
			p.left[p.pf[at]]--
			used[p.pf[at]] = true
			out[i] = append(out[i], devices[at])
		}
	}
	return out
}

type picker struct {
	pf    []int // number of the PF, per device
	taken []bool
	left  []int // devices not taken yet, per PF
	card  []string
}

func newPicker(devices []string, pfOf func(string) string) *picker {
	p := &picker{taken: make([]bool, len(devices))}
	numbers := map[string]int{}
	for _, device := range devices {
		pf := pfOf(device)
		n, known := numbers[pf]
		if !known || pf == "" {
			n = len(p.left)
			card, _, _ := strings.Cut(pf, ".") // PCI address without the function
			numbers[pf], p.left, p.card = n, append(p.left, 0), append(p.card, card)
		}
		p.left[n]++
		p.pf = append(p.pf, n)
	}
	return p
}

// next returns the index of the first device that still allows the largest number of
// different PFs, for a group that needs k more devices and has used some PFs, and for
// the groups after it. Among devices of new PFs it prefers the first of a new card.
func (p *picker) next(k int, used []bool, after []int) int {
	most := distinct(p.left, k, used, after)
	first := -1
	for i, pf := range p.pf {
		if p.taken[i] || !p.keeps(most, pf, k, used, after) {
			continue
		}
		if used[pf] && first < 0 || !used[pf] && !p.usesCard(p.card[pf], used) {
			return i
		}
		if first < 0 {
			first = i
		}
	}
	if first < 0 {
		panic("spread: fewer devices than wanted")
	}
	return first
}

// keeps reports whether a device of pf still allows the largest number of different
// PFs.
func (p *picker) keeps(most, pf, k int, used []bool, after []int) bool {
	was, gain := used[pf], 0
	if !was {
		gain = 1
	}
	p.left[pf]--
	used[pf] = true
	keeps := gain+distinct(p.left, k-1, used, after) == most
	p.left[pf]++
	used[pf] = was
	return keeps
}

// usesCard reports whether one of the used PFs is on the card.
func (p *picker) usesCard(card string, used []bool) bool {
	for pf, is := range used {
		if is && p.card[pf] == card && card != "" {
			return true
		}
	}
	return false
}

// distinct returns the largest possible number of different PFs, summed over a group
// of k that cannot gain from the used PFs, and groups of the sizes in rest. Taking
// from the PFs with the most devices left is optimal: any other choice can be
// exchanged for it without loss.
func distinct(left []int, k int, used []bool, rest []int) int {
	left = slices.Clone(left)
	total := takeLargest(left, k, used)
	for _, count := range rest {
		total += takeLargest(left, count, make([]bool, len(left)))
	}
	return total
}

// takeLargest takes one device from each of at most k unused PFs, those with the most
// devices left, and returns from how many.
func takeLargest(left []int, k int, used []bool) int {
	var order []int
	for pf, n := range left {
		if n > 0 && !used[pf] {
			order = append(order, pf)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return left[b] - left[a] })
	order = order[:min(k, len(order))]
	for _, pf := range order {
		left[pf]--
	}
	return len(order)
}
