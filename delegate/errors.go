package delegate

import (
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/types"
)

// The CNI error codes of our own (CNI specification, "Error": plugins may use
// 100 and above).
const (
	CodeNode     uint = 100 // the node does not have what the configuration asks for
	CodeDelegate uint = 101 // a plugin that we called failed
	CodeKernel   uint = 102 // the kernel refused
	CodeRestore  uint = 103 // something could not be undone; a later DEL goes on
	CodeCheck    uint = 104 // CHECK found a difference
)

// coded is an error with its CNI code.
type coded struct {
	code uint
	err  error
}

func (c coded) Error() string { return c.err.Error() }
func (c coded) Unwrap() error { return c.err }

// WithCode gives err the CNI code that Code reports; nil stays nil.
func WithCode(code uint, err error) error {
	if err == nil {
		return nil
	}
	return coded{code: code, err: err}
}

func errorf(code uint, format string, args ...any) error {
	return coded{code: code, err: fmt.Errorf(format, args...)}
}

// Code is the CNI code of err: the outermost that was given, else the one that
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
