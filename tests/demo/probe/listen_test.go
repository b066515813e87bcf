package main

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAnnouncement(t *testing.T) {
	const from = "ffffffffffff 020000000001 "
	for _, test := range []struct{ name, frame, want string }{
		{"gratuitous ARP", from + "0806 0001 0800 0604 0001 020000000001 0a38d902 ffffffffffff 0a38d902", "10.56.217.2 02:00:00:00:00:01"},
		{"ARP that asks", from + "0806 0001 0800 0604 0001 020000000001 0a38d902 000000000000 0a38d901", ""},
		{"unsolicited advertisement", from + "86dd 60000000 0018 3a ff " + strings.Repeat("00", 32) +
			"8800 0000 20000000 fd000056021700000000000000000002", "fd00:56:217::2 02:00:00:00:00:01"},
		{"solicited advertisement", from + "86dd 60000000 0018 3a ff " + strings.Repeat("00", 32) +
			"8800 0000 60000000 fd000056021700000000000000000002", ""},
		{"short", "ffff", ""},
		{"ARP cut short", from + "0806 0001", ""},
	} {
		frame, err := hex.DecodeString(strings.ReplaceAll(test.frame, " ", ""))
		require.NoError(t, err)
		got := ""
		if address, mac, ok := announcement(frame); ok {
			got = address.String() + " " + mac.String()
		}
		assert.Equal(t, test.want, got, test.name)
	}
}
