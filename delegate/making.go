package delegate

import "github.com/multibond/multibond/bond"

// making is a bond that is made while its links are attached: a link comes into
// it beside the plugin of the next one, because its driver takes as long to open
// it as a third of a plugin's time.
type making struct {
	pod  bond.Namespace
	rec  *Record
	bond bond.Link // the zero Link: it is not made yet
	in   int       // how many links are in it
}

// madeEarly says whether the bond can be made when its first link is there: all
// that it is made with must be known by then.
func (p Plan) madeEarly() bool {
	primary := p.Bond.Options[bond.Primary]
	return p.Bond.Options[bond.MTU] != "" && (primary == "" || primary == p.Links[0].Name)
}

// bondBegun says whether so many links were begun that the bond may be there.
func (rec *Record) bondBegun() bool {
	least := len(rec.Plan.Links)
	if rec.Plan.madeEarly() {
		least = min(least, 2)
	}
	return len(rec.Started) >= least
}

// begin makes the bond, when the second link is begun. It is not done beside a
// plugin: the bond could get the index for which sriov-cni looks (freeIndex).
func (m *making) begin() (err error) {
	if m.bond.Index != 0 || len(m.rec.Attached) == 0 || !m.rec.Plan.madeEarly() {
		return nil
	}
	return m.create()
}

func (m *making) create() (err error) {
	m.bond, err = m.pod.CreateBond(m.rec.Plan.Bond.Name, m.rec.Plan.Bond.Options)
	m.rec.BondIndex = m.bond.Index
	return WithCode(CodeKernel, err)
}

// enslave brings the first links into the bond, where it is made.
func (m *making) enslave(links int) error {
	for ; m.bond.Index != 0 && m.in < links; m.in++ {
		l := m.rec.Attached[m.rec.Plan.Links[m.in].Name].Link
		if err := bond.Enslave(m.pod, m.rec.Plan.Bond, m.bond, l); err != nil {
			return WithCode(CodeKernel, err)
		}
	}
	return nil
}

// finish makes what is missing of the bond, when all links are attached, and
// sets it up.
func (m *making) finish() (bond.Link, error) {
	if m.bond.Index == 0 {
		m.rec.settleMTU()
		if err := m.create(); err != nil {
			return m.bond, err
		}
	}
	if err := m.enslave(len(m.rec.Plan.Links)); err != nil {
		return m.bond, err
	}
	made, err := bond.Finish(m.pod, m.rec.Plan.Bond, m.bond)
	return made, WithCode(CodeKernel, err)
}

// settleMTU gives the bond the smallest MTU of its links where none was known
// before they were attached.
func (rec *Record) settleMTU() {
	if rec.Plan.Bond.Options[bond.MTU] != "" {
		return
	}
	var links []bond.Link
	for _, l := range rec.Plan.Links {
		links = append(links, rec.Attached[l.Name].Link)
	}
	rec.Plan.Bond.Options = bond.WithSmallestMTU(rec.Plan.Bond.Options, links)
}
