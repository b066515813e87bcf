package kubeclient

import "strings"

// joined is several errors as one line, as a pod's event has it.
type joined []error

// join is nil where all of errs are.
func join(errs ...error) error {
	var out joined
	for _, err := range errs {
		if err != nil {
			out = append(out, err)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func (j joined) Error() string {
	var words []string
	for _, err := range j {
		words = append(words, err.Error())
	}
	return strings.Join(words, "; ")
}

// Unwrap makes errors.Is and errors.As find each of them.
func (j joined) Unwrap() []error { return j }
