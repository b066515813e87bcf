package agentapi

import (
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// writeFile sends an open file ahead of a message. JSON allows a blank before it.
func writeFile(conn *net.UnixConn, file *os.File) error {
	_, _, err := conn.WriteMsgUnix([]byte(" "), unix.UnixRights(int(file.Fd())), nil)
	if err != nil {
		return fmt.Errorf("sending an open file: %w", err)
	}
	return nil
}

// FileReader reads messages from a connection, and keeps the first file that comes with
// them (SCM_RIGHTS in unix(7)).
type FileReader struct {
	Conn *net.UnixConn
	file *os.File
}

// Read reads from the connection.
func (r *FileReader) Read(p []byte) (int, error) {
	control := make([]byte, unix.CmsgSpace(4))
	n, controls, _, _, err := r.Conn.ReadMsgUnix(p, control)
	switch {
	case err != nil:
		return 0, err // n is -1 then
	case n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	return n, r.keep(control[:controls])
}

func (r *FileReader) keep(control []byte) error {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return fmt.Errorf("receiving an open file: %w", err)
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue // it carries something else
		}
		for _, fd := range fds {
			if r.file != nil {
				unix.Close(fd)
				continue
			}
			unix.CloseOnExec(fd)
			r.file = os.NewFile(uintptr(fd), "received")
		}
	}
	return nil
}

// Take returns the file, which the caller closes, or nil if none has come.
func (r *FileReader) Take() *os.File {
	file := r.file
	r.file = nil
	return file
}

// Close closes the file, unless it was taken.
func (r *FileReader) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}
