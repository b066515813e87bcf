package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// monitor speaks QMP, QEMU's control protocol: JSON, one answer to each command,
// events in between.
type monitor struct {
	mu   sync.Mutex
	conn net.Conn
	enc  *json.Encoder
	dec  *json.Decoder
	hi   bool // capabilities are negotiated
}

func newMonitor(conn net.Conn) *monitor {
	return &monitor{conn: conn, enc: json.NewEncoder(conn), dec: json.NewDecoder(conn)}
}

// human runs a command of the monitor that people use.
func (m *monitor) human(line string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conn.SetDeadline(time.Now().Add(30 * time.Second))
	if !m.hi {
		if _, err := m.execute("qmp_capabilities", nil); err != nil {
			return "", err
		}
		m.hi = true
	}
	result, err := m.execute("human-monitor-command", map[string]string{"command-line": line})
	if err != nil {
		return "", err
	}
	var text string
	err = json.Unmarshal(result, &text)
	return text, err
}

func (m *monitor) execute(command string, arguments map[string]string) (json.RawMessage, error) {
	type request struct {
		Execute   string            `json:"execute"`
		Arguments map[string]string `json:"arguments,omitempty"`
	}
	if err := m.enc.Encode(request{command, arguments}); err != nil {
		return nil, err
	}
	for {
		var answer struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
		}
		if err := m.dec.Decode(&answer); err != nil {
			return nil, err
		}
		switch {
		case answer.Error != nil:
			return nil, errors.New(answer.Error.Desc)
		case answer.Return != nil:
			return answer.Return, nil
		}
	}
}

// Monitor runs a command of QEMU's human monitor, as "info network".
func (vm *VM) Monitor(command string) (string, error) {
	text, err := vm.monitor.human(command)
	if err != nil {
		return "", fmt.Errorf("lab: monitor: %s: %w", command, err)
	}
	return text, nil
}

// Cable plugs a PF's cable (PF 0 is enp1s0) in or pulls it. Of a pulled one, the
// PF knows at once and its VFs never do.
func (vm *VM) Cable(pf int, on bool) error {
	state := map[bool]string{true: "on", false: "off"}[on]
	text, err := vm.Monitor(fmt.Sprintf("set_link nic%d %s", pf, state))
	if err == nil && text != "" {
		err = fmt.Errorf("lab: cable of PF %d: %s", pf, text)
	}
	return err
}
