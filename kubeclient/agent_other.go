//go:build !linux

package kubeclient

import (
	"errors"
	"os"
)

// The agent takes Linux. The operator's tool on other systems calls none of this.

func lockByte(*os.File, int64) error { return errors.ErrUnsupported }

func peerOf(int) (int, error) { return 0, errors.ErrUnsupported }
