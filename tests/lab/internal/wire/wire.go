// Package wire is what the host and the guest's agent say to each other: JSON
// values over one stream. Every command has an id, so that many can run at once.
package wire

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

// ToGuest is one message of the host: start the command ID, or kill it.
type ToGuest struct {
	ID    uint64
	Start *Start `json:",omitempty"`
	Kill  bool   `json:",omitempty"` // the command and what it started
}

// Start describes the command to start under the message's id.
type Start struct {
	Args    []string
	Env     []string // added to the agent's own
	Dir     string
	Stdin   []byte
	Timeout time.Duration
}

// ToHost is one message of the guest. Ready comes once, before all others; Exit
// is the last message about its ID.
type ToHost struct {
	Ready  bool   `json:",omitempty"`
	ID     uint64 `json:",omitempty"`
	Stdout []byte `json:",omitempty"`
	Stderr []byte `json:",omitempty"`
	Exit   *Exit  `json:",omitempty"`
}

// Exit says how a command ended.
type Exit struct {
	Code     int    // 128 + n where signal n ended it, as a shell has it
	TimedOut bool   `json:",omitempty"`
	Error    string `json:",omitempty"` // it could not be started
}

// Conn sends values of one type and receives those of another.
type Conn[Out, In any] struct {
	mu  sync.Mutex // of enc
	enc *json.Encoder
	dec *json.Decoder
}

// NewConn speaks over rw. It does not close it.
func NewConn[Out, In any](rw io.ReadWriter) *Conn[Out, In] {
	return &Conn[Out, In]{enc: json.NewEncoder(rw), dec: json.NewDecoder(rw)}
}

// Send may be called by many goroutines at once.
func (c *Conn[Out, In]) Send(m Out) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.enc.Encode(m)
}

// Receive returns the next message, and io.EOF after the last.
func (c *Conn[Out, In]) Receive() (In, error) {
	var m In
	err := c.dec.Decode(&m)
	return m, err
}
