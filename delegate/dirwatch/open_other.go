//go:build !linux

package dirwatch

import (
	"errors"
	"os"
)

// open takes Linux. Elsewhere, Follow looks once per every.
func open(string) (*os.File, error) { return nil, errors.ErrUnsupported }
