//go:build !linux

package agentapi

import (
	"errors"
	"net"
	"os"
)

// The plugin and the agent take Linux. The operator's tool on other systems calls none of this.

func writeFile(*net.UnixConn, *os.File) error { return errors.ErrUnsupported }

// FileReader reads messages from a connection.
type FileReader struct{ Conn *net.UnixConn }

// Read reads from the connection.
func (r *FileReader) Read(p []byte) (int, error) { return r.Conn.Read(p) }

// Take returns nil: no file has come.
func (r *FileReader) Take() *os.File { return nil }

// Close does nothing.
func (r *FileReader) Close() error { return nil }
