package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/multibond/multibond/cmd/multibondctl/measure"
)

// TestMeasureVerb: the client prints one JSON object; the server ends when it is told to.
func TestMeasureVerb(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	at := netip.MustParseAddrPort(l.Addr().String())
	require.NoError(t, l.Close())
	client := []string{"-interface", "lo", "-to", "127.0.0.1", "-port", fmt.Sprint(at.Port())}
	var out, errs bytes.Buffer
	code := measured(t.Context(), append(client, "-throughput", "1ms"), &out, &errs)
	assert.Equal(t, 1, code, "nobody answers")
	assert.Contains(t, errs.String(), "multibond-agent measure: dial tcp4 "+at.String()+": connect: connection refused")
	assert.Empty(t, out.String())

	server, err := measure.Listen([]measure.Address{{Interface: "lo", IP: at.Addr()}}, at.Port())
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go server.Serve(ctx)
	require.Zero(t, measured(t.Context(), append(client, "-count", "1"), &out, &errs))
	var found measure.Found
	require.NoError(t, json.Unmarshal(out.Bytes(), &found))
	assert.Equal(t, 1, found.Received)

	ended, end := context.WithCancel(t.Context())
	end()
	assert.Zero(t, measured(ended, []string{"-serve"}, &out, &errs), errs.String())
	for _, args := range [][]string{{}, {"-serve", "-to", "127.0.0.1"}, {"-serve", "more"}, {"-interface", "lo"}, append(client, "-port", "70000")} {
		assert.Equal(t, 1, measured(t.Context(), args, &out, &errs), args)
	}
	assert.Equal(t, 2, measured(t.Context(), []string{"-to", "nowhere"}, &out, &errs))
}
