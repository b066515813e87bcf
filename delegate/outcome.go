package delegate

import "fmt"

// outcome is what a call has come to, apart from its error. Every part of the call
// adds to it, and the process prints the warnings once the call is over.
type outcome struct {
	warnings []string
	// doubtful says that something was left as it is, or was not found: a further
	// DEL may have more to do.
	doubtful bool
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

// join adds what a part of the call has come to.
func (o *outcome) join(part outcome) {
	o.warnings = append(o.warnings, part.warnings...)
	o.doubtful = o.doubtful || part.doubtful
}
