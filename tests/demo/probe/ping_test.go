package main

import (
	"bytes"
	"testing"
)

func TestEcho(t *testing.T) {
	got := echo(icmp.request, 0x1234, 0x0007)
	// 0x0800 + 0x1234 + 0x0007 = 0x1a3b, and its complement.
	want := []byte{8, 0, 0xe5, 0xc4, 0x12, 0x34, 0x00, 0x07}
	if !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
	if sum := checksum(got); sum != 0 {
		t.Errorf("checksum over the whole packet: got %#x, want 0", sum)
	}
}

func TestParseReply(t *testing.T) {
	if id, seq, ok := icmp.parseReply(echo(icmp.reply, 5, 600)); id != 5 || seq != 600 || !ok {
		t.Errorf("reply: got %d %d %v, want 5 600 true", id, seq, ok)
	}
	if _, _, ok := icmp.parseReply(echo(icmp.request, 5, 600)); ok {
		t.Error("a request was taken for a reply")
	}
	if _, _, ok := icmp.parseReply([]byte{0, 0, 0}); ok {
		t.Error("three bytes were taken for a reply")
	}
}
