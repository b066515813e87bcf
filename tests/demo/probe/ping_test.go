package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestEcho(t *testing.T) {
	got := echo(icmp.request, 0x1234, 0x0007)
	// 0x0800 + 0x1234 + 0x0007 = 0x1a3b, and its complement.
	want := []byte{8, 0, 0xe5, 0xc4, 0x12, 0x34, 0x00, 0x07}
	assert.Equal(t, want, got)
	assert.Zero(t, checksum(got), "checksum over the whole packet")
}

func TestParseReply(t *testing.T) {
	id, seq, ok := icmp.parseReply(echo(icmp.reply, 5, 600))
	assert.True(t, ok)
	assert.EqualValues(t, 5, id)
	assert.EqualValues(t, 600, seq)
	_, _, ok = icmp.parseReply(echo(icmp.request, 5, 600))
	assert.False(t, ok, "a request was taken for a reply")
	_, _, ok = icmp.parseReply([]byte{0, 0, 0})
	assert.False(t, ok, "three bytes were taken for a reply")
}
