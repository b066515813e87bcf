package kubeclient

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/multibond/multibond/delegate/cnierror"
)

// TestWebhookBesideSlowSenders: whoever sends a part of a review and no more keeps nobody from
// being served.
func TestWebhookBesideSlowSenders(t *testing.T) {
	api := newHookAPI(t)
	r := startReplica(t, api, certificateLives, time.Now)
	require.NoError(t, r.certs.sync(t.Context()))
	var slow []net.Conn
	for range reviewsAtOnce {
		s, err := tls.Dial("tcp", strings.TrimPrefix(r.url, "https://"), &tls.Config{InsecureSkipVerify: true})
		require.NoError(t, err)
		defer s.Close()
		slow = append(slow, s)
		_, err = fmt.Fprint(s, "POST /pods HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{")
		require.NoError(t, err)
	}
	answer, err := ask(trusting(bundleOf(api, webhookKinds[0]), time.Now), r.url+"/pods", podToInject)
	require.NoError(t, err)
	assert.True(t, answer.Allowed)
	for _, s := range slow {
		require.NoError(t, s.SetReadDeadline(time.Now().Add(time.Minute)))
		text, err := io.ReadAll(s)
		require.NoError(t, err, "it is answered, and its connection ends")
		assert.Contains(t, string(text), "503 Service Unavailable")
	}
}

// TestHeldBytes: all requests that are held have a limit, whatever each of them has.
func TestHeldBytes(t *testing.T) {
	var held heldBytes
	read := func(size int) (body []byte, err error) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) { body, err = held.read(w, request) }))
		defer server.Close()
		response, failed := http.Post(server.URL, "", io.LimitReader(zeros{}, int64(size)))
		require.NoError(t, failed)
		require.NoError(t, response.Body.Close())
		return body, err
	}
	first, err := read(6 << 20)
	require.NoError(t, err)
	assert.Len(t, first, 6<<20)
	second, err := read(6 << 20)
	require.NoError(t, err)
	third, err := read(6 << 20)
	assert.ErrorIs(t, err, errTooManyBytes)
	for _, body := range [][]byte{first, second, third} {
		held.release(body)
	}
	assert.Zero(t, held.Load())
	_, err = read(largestReview + 1)
	assert.ErrorAs(t, err, new(*http.MaxBytesError))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestReviewAgain: what may be right a second later is not called wrong.
func TestReviewAgain(t *testing.T) {
	again, err := Review{Err: cnierror.Errorf(types.ErrTryAgainLater, "the API server does not answer")}.response(&admissionv1.AdmissionRequest{})
	require.NoError(t, err)
	assert.EqualValues(t, http.StatusServiceUnavailable, again.Result.Code)
	wrong, err := Review{Err: cnierror.Errorf(types.ErrInvalidNetworkConfig, "a bond without links")}.response(&admissionv1.AdmissionRequest{})
	require.NoError(t, err)
	assert.EqualValues(t, http.StatusUnprocessableEntity, wrong.Result.Code)
}

// TestWebhookTellsWhyItIsNotReady: the kubelet's probe is answered before there is a
// certificate, and gets the reason.
func TestWebhookTellsWhyItIsNotReady(t *testing.T) {
	api := newHookAPI(t)
	api.Refusing("get secrets", http.StatusForbidden)
	r := startReplica(t, api, certificateLives, time.Now)
	err := r.certs.sync(t.Context())
	require.Error(t, err)
	r.certs.failed.Store(&err)
	probe := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DialContext: (&net.Dialer{}).DialContext}}
	for path, want := range map[string]string{"/healthz": "ok", "/readyz": "there is no certificate that the API server trusts yet: secret "} {
		response, err := probe.Get(r.url + path)
		require.NoError(t, err)
		text := new(bytes.Buffer)
		_, err = text.ReadFrom(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Contains(t, text.String(), want, path)
	}
	probe.CloseIdleConnections()
}
