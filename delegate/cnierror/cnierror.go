// Package cnierror is an error with the CNI code that the runtime gets.
//
// The text and the code of an error are decided where it occurs. What a runtime does with
// a code is in the CNI specification, section "Error".
package cnierror

import (
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/types"
)

// The CNI error codes of our own (CNI specification, "Error": plugins may use
// 100 and above).
const (
	Node     uint = 100 // the node does not have what the configuration asks for
	Delegate uint = 101 // a plugin that we called failed
	Kernel   uint = 102 // the kernel refused
	Restore  uint = 103 // something could not be undone; a later DEL continues
	Check    uint = 104 // CHECK found a difference
)

// coded is an error with its CNI code.
type coded struct {
	code uint
	err  error
}

func (c coded) Error() string { return c.err.Error() }
func (c coded) Unwrap() error { return c.err }

// With gives err a CNI code, which Code returns. It returns nil if err is nil.
func With(code uint, err error) error {
	if err == nil {
		return nil
	}
	return coded{code: code, err: err}
}

// Errorf is fmt.Errorf with a CNI code.
func Errorf(code uint, format string, args ...any) error {
	return coded{code: code, err: fmt.Errorf(format, args...)}
}

// Code returns the CNI code of err: the outermost one that was given, else the one that
// a plugin answered with, else 999.
func Code(err error) uint {
	var c coded
	if errors.As(err, &c) {
		return c.code
	}
	var e *types.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return types.ErrInternal
}
