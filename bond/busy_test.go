package bond

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// oneAtATime is a PF that makes one change of a VF, and is busy then.
type oneAtATime struct {
	Namespace
	vf   VF
	have []VF // as it was told each time
}

func (p *oneAtATime) VFs(string) (map[int]VF, error) { return map[int]VF{0: p.vf}, nil }

func (p *oneAtATime) ChangeVF(_ string, _ int, have, want VF) error {
	p.have = append(p.have, have)
	switch {
	case have.VLAN != want.VLAN:
		p.vf.VLAN = want.VLAN
	case have.SpoofChk != want.SpoofChk:
		p.vf.SpoofChk = want.SpoofChk
	default:
		return nil
	}
	return unix.EAGAIN
}

// TestSetVFReads: a PF that is busy after one change is not told of that change again.
func TestSetVFReads(t *testing.T) {
	pf, want := &oneAtATime{}, VF{VLAN: 7, SpoofChk: true}
	require.NoError(t, SetVF(pf, "enp1s0", 0, VF{}, want))
	assert.Equal(t, []VF{{}, {VLAN: 7}, want}, pf.have)
}
