package delegate

import (
	"errors"
	"fmt"
)

// outcome is what a call reports in addition to its error. Each part of the call adds to
// it. The process prints the warnings when the call is over.
type outcome struct {
	warnings []string
	// doubtful is set if something was left as it is, or was not found. A further DEL
	// may then have more to do.
	doubtful bool
	givenUp  []string // those warnings that the pod's events report
	later    error    // what a Record still has to do, and no DEL waits for
	// refused is what plugins refuse to delete of Records that were set aside early. DEL
	// fails with it until its time is over. It is in nobody's way, so no ADD fails with it.
	refused error
}

// warn adds a warning.
func (o *outcome) warn(format string, args ...any) {
	o.warnings = append(o.warnings, fmt.Sprintf(format, args...))
}

// leave adds a warning about something that is left as it is, or was not found.
func (o *outcome) leave(format string, args ...any) {
	o.warn(format, args...)
	o.doubtful = true
}

// join adds the outcome of a part of the call.
func (o *outcome) join(part outcome) {
	o.warnings = append(o.warnings, part.warnings...)
	o.doubtful = o.doubtful || part.doubtful
	o.givenUp = append(o.givenUp, part.givenUp...)
	o.refused = errors.Join(o.refused, part.refused)
}

// takeRefused returns what plugins refuse, so that it is reported once.
func (o *outcome) takeRefused() error {
	refused := o.refused
	o.refused = nil
	return refused
}

// warnOfRefused turns what plugins refuse into a warning.
func (o *outcome) warnOfRefused() {
	if refused := o.takeRefused(); refused != nil {
		o.warn("%v", refused)
	}
}
