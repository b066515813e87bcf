//go:build !linux

package atomicfile

import "errors"

// exchange takes Linux. The operator's tool on other systems does not call it.
func exchange(_, _ string) error { return errors.ErrUnsupported }
