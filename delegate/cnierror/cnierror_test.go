package cnierror

import (
	"errors"
	"fmt"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/stretchr/testify/assert"
)

func TestCode(t *testing.T) {
	said := &types.Error{Code: 11, Msg: "later"}
	for _, test := range []struct {
		err  error
		want uint
	}{
		{errors.New("x"), types.ErrInternal},
		{said, 11},
		{fmt.Errorf("sriov ADD: %w", said), 11},
		{With(Delegate, said), Delegate},
		{With(Restore, With(Kernel, said)), Restore},
		{fmt.Errorf("more: %w", Errorf(Node, "x")), Node},
	} {
		assert.Equal(t, test.want, Code(test.err))
	}
	assert.Nil(t, With(Node, nil))
}
