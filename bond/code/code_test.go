package code

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestOf(t *testing.T) {
	a, b := With(NotJSON, errors.New("a")), With(NoNAD, errors.New("b"))
	for want, err := range map[string]error{
		"plain":                 errors.New("plain"),
		"a [MB101]":             a,
		"x: a [MB101]":          fmt.Errorf("x: %w", a),
		"b\na\nb [MB617 MB101]": errors.Join(b, a, fmt.Errorf("%w", b)),
		"a [MB617 MB101]":       With(NoNAD, a),
	} {
		assert.Equal(t, want, Text(err))
	}
	text, err := NotJSON.MarshalText()
	assert.NoError(t, err)
	assert.Equal(t, "MB101", string(text))
	assert.ErrorIs(t, a, errors.Unwrap(a))
}
