package kubeclient

import "strings"

// joined is a list of errors that prints as one line, as events need it.
type joined []error

// join returns the errors that are not nil as one, or nil if there are none.
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

// Unwrap lets errors.Is and errors.As find each error.
func (j joined) Unwrap() []error { return j }
