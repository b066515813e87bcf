package delegate

// life says how far an attachment has come, by its Record on disk. A process
// can be killed at any of them; restore leads from each back to unborn.
type life string

const (
	unborn    life = "unborn"    // no Record: nothing has been done, or all of it is undone
	begun     life = "begun"     // the plan is on disk, and nothing has been done
	attaching life = "attaching" // some links may be in the pod
	attached  life = "attached"  // all may be, and the bond and its address too
	complete  life = "complete"  // the runtime may have the result
	undoing   life = "undoing"   // some links are as before again
)

// follows are the lives that can come next: one step of ADD, or of the way
// back, which writes the Record anew only where something could not be undone.
var follows = map[life][]life{
	unborn:    {begun},
	begun:     {attaching, unborn},
	attaching: {attached, undoing, unborn},
	attached:  {complete, undoing, unborn},
	complete:  {attached, undoing, unborn},
	undoing:   {unborn},
}

// life of a Record; of nil, there is none.
func (rec *Record) life() life {
	switch {
	case rec == nil:
		return unborn
	case rec.Result != nil:
		return complete
	case len(rec.Restored) > 0:
		return undoing
	case len(rec.Started) == 0:
		return begun
	case len(rec.Started) < len(rec.Plan.Links):
		return attaching
	}
	return attached
}
