package record

// Phase is how far an attachment has come, by its Record on disk. A process can be killed
// in any phase. Restoring leads from each of them back to None.
type Phase string

// The phases, in the order in which an attachment goes through them.
const (
	None        Phase = "none"      // no Record: nothing has been done, or all of it is undone
	Begun       Phase = "begun"     // the plan is on disk, and nothing has been done
	Attaching   Phase = "attaching" // some links may be in the pod
	AllAttached Phase = "attached"  // all may be, and the bond and its address too
	Complete    Phase = "complete"  // the runtime may have the result
	Restoring   Phase = "restoring" // some links are as before again
	Early       Phase = "set aside" // only plugins keep something, and refuse to let go of it
	GivenUp     Phase = "given up"  // it is set aside, because it could not be restored
)

// Phase returns how far the attachment of a Record has come. rec may be nil: no Record.
func (rec *Record) Phase() Phase {
	switch {
	case rec == nil:
		return None
	case rec.IsEarly():
		return Early
	case rec.Aside != "":
		return GivenUp
	case rec.Result != nil:
		return Complete
	case len(rec.Restored) > 0:
		return Restoring
	case len(rec.Started) == 0:
		return Begun
	case len(rec.Started) < len(rec.Plan.Links):
		return Attaching
	}
	return AllAttached
}
