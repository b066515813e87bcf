package conformance

// reason says why Multibond does something else than Multus.
type reason struct{ key, multus, multibond string }

var reasons = []reason{}

var reasonOf = func() map[string]reason {
	all := map[string]reason{}
	for _, r := range reasons {
		all[r.key] = r
	}
	return all
}()
