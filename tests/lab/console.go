package lab

import (
	"bytes"
	"strings"
	"sync"
)

// console keeps the last of what is written to it.
type console struct {
	mu  sync.Mutex
	buf []byte
}

const consoleSize = 1 << 20

func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf = append(c.buf, b...)
	if over := len(c.buf) - consoleSize; over > 0 {
		c.buf = bytes.Clone(c.buf[over:])
	}
	return len(b), nil
}

// tail returns the last n lines, all if n is negative.
func (c *console) tail(n int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := strings.Split(strings.ReplaceAll(strings.TrimRight(string(c.buf), "\r\n"), "\r", ""), "\n")
	if n >= 0 && len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}
