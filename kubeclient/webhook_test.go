package kubeclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/kubeclient/kubefake"
	"github.com/multibond/multibond/kubeclient/rotation"
)

var ownWebhook = types.NamespacedName{Namespace: "multibond-system", Name: "multibond-webhook"}

// newHookAPI has what deploy/webhook makes, and some NADs.
func newHookAPI(t *testing.T) *kubefake.API {
	api := kubefake.NewAPI(t)
	api.Put(kubefake.Secrets, ownWebhook.Namespace, ownWebhook.Name, map[string]any{"type": "Opaque"})
	for _, kind := range webhookKinds {
		hook := map[string]any{"name": kind, "clientConfig": map[string]any{}}
		api.Put(kind, "", ownWebhook.Name, map[string]any{"webhooks": []any{hook}})
	}
	api.Put(kubefake.NADs, "demo", "two", nadObject(`{"type": "multibond", "name": "n", "links": [{"resourceName": "intel.com/a"}, {"resourceName": "intel.com/b"}]}`))
	return api
}

// bundleOf is what the API server trusts.
func bundleOf(api *kubefake.API, kind string) []byte {
	var one webhookConfiguration
	text, _ := json.Marshal(api.Object(kind, "", ownWebhook.Name))
	json.Unmarshal(text, &one)
	return one.Webhooks[0].ClientConfig.CABundle
}

func trusting(bundle []byte, now func() time.Time) *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "multibond-webhook.multibond-system.svc", Time: now}}}
}

// ask asks for one review, as the API server does.
func ask(client *http.Client, url, object string) (*admissionv1.AdmissionResponse, error) {
	review := admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request:  &admissionv1.AdmissionRequest{UID: "1-2-3", Namespace: "demo", Object: runtime.RawExtension{Raw: []byte(object)}},
	}
	body, err := json.Marshal(review)
	if err != nil {
		return nil, err
	}
	response, err := client.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s %w", response.Status, text, err)
	}
	if err := json.Unmarshal(text, &review); err != nil {
		return nil, err
	}
	if review.Response.UID != "1-2-3" || review.Kind != "AdmissionReview" {
		return nil, fmt.Errorf("the answer is to another request: %s", text)
	}
	return review.Response, nil
}

const (
	podToInject = `{"metadata": {"annotations": {"k8s.v1.cni.cncf.io/networks": "two@bond0"}}, "spec": {"containers": [{"name": "c"}]}}`
	nadToWarnOf = `{"metadata": {"name": "n"}, "spec": {"config": "{\"type\": \"multibond\", \"name\": \"n\", \"color\": \"red\", \"links\": [{\"name\": \"e1\"}, {\"name\": \"e2\"}]}"}}`
	nadToRefuse = `{"metadata": {"name": "n"}, "spec": {"config": "{\"type\": \"multibond\", \"name\": \"n\", \"links\": [{\"resource\": \"a\"}, {\"name\": \"e2\"}]}"}}`
)

// TestWebhook starts the server as the program does: the API server trusts it once it is told
// to, and what is found reaches the user.
func TestWebhook(t *testing.T) {
	api := newHookAPI(t)
	o := WebhookOptions{Listen: freePort(t), Kubeconfig: kubeconfig(t, "http://"+api.Address), Own: ownWebhook, Cluster: func() (c agentapi.Cluster) { return c }, Log: slog.New(slog.DiscardHandler)}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Webhook(ctx, o) }()
	var client *http.Client
	eventually(t, func(c *assert.CollectT) {
		client = trusting(bundleOf(api, kubefake.ValidatingHooks), time.Now)
		response, err := client.Get("https://" + o.Listen + "/readyz")
		require.NoError(c, err)
		response.Body.Close()
		require.Equal(c, http.StatusOK, response.StatusCode)
	})
	assert.Equal(t, bundleOf(api, kubefake.ValidatingHooks), bundleOf(api, kubefake.MutatingHooks))

	injected, err := ask(client, "https://"+o.Listen+"/pods", podToInject)
	require.NoError(t, err)
	assert.True(t, injected.Allowed)
	assert.JSONEq(t, `[{"op": "add", "path": "/spec/containers/0/resources", "value": {"limits": {"intel.com/a": "1", "intel.com/b": "1"}, "requests": {"intel.com/a": "1", "intel.com/b": "1"}}}]`, string(injected.Patch))
	warned, err := ask(client, "https://"+o.Listen+"/networks", nadToWarnOf)
	require.NoError(t, err)
	assert.True(t, warned.Allowed)
	require.Len(t, warned.Warnings, 1)
	assert.Contains(t, warned.Warnings[0], "color")
	refused, err := ask(client, "https://"+o.Listen+"/networks", nadToRefuse)
	require.NoError(t, err)
	assert.False(t, refused.Allowed)
	assert.Contains(t, refused.Result.Message, "links[0].resource: is not a known key")
	assert.Contains(t, refused.Result.Message, code.UnknownKey.String())
	for _, path := range []string{"/pods", "/networks"} {
		for _, body := range []string{"", "x", "{}", `{"request": {"object": 1}}`} {
			response, err := client.Post("https://"+o.Listen+path, "application/json", bytes.NewReader([]byte(body)))
			require.NoError(t, err)
			text, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			response.Body.Close()
			assert.True(t, response.StatusCode == http.StatusBadRequest || bytes.Contains(text, []byte(`"allowed":false`)), "%s %s: %s", path, body, text)
		}
	}
	client.CloseIdleConnections()
	stop()
	assert.NoError(t, <-done)
}

// replica is one of two servers that share their certificates.
type replica struct {
	certs *certificates
	url   string
}

func startReplica(t *testing.T, api *kubefake.API, policy rotation.Policy, now func() time.Time) replica {
	client, err := newAPI(api.Config(), apiTimeout, func(string, string) {})
	require.NoError(t, err)
	log := slog.New(slog.DiscardHandler)
	certs, err := newCertificates(client, api.Config(), ownWebhook, policy, now, log)
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	pages := reviewPages(Reviewer{NAD: client.nad, Cluster: func() (c agentapi.Cluster) { return c }}, certs, log)
	go func() { done <- serveReviews(ctx, l, pages, certs, WebhookOptions{Log: log}) }()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, <-done)
	})
	return replica{certs, "https://" + l.Addr().String()}
}

// TestWebhookRotation asks for 10,000 reviews of two replicas while their certificates and CAs
// are renewed, by a clock that goes on with each review. The API server has bundles that are
// up to half of the overlap old. No review fails.
func TestWebhookRotation(t *testing.T) {
	const reviews, workers = 10000, 8
	policy := rotation.Policy{CALife: 4000 * time.Minute, LeafLife: 1200 * time.Minute, Overlap: 200 * time.Minute}
	var minutes, started, failed atomic.Int64
	began := time.Now()
	now := func() time.Time { return began.Add(time.Duration(minutes.Load()) * time.Minute) }
	api := newHookAPI(t)
	replicas := []replica{startReplica(t, api, policy, now), startReplica(t, api, policy, now)}
	for range 2 {
		for _, r := range replicas {
			if err := r.certs.sync(t.Context()); err != nil {
				t.Log(err) // the other one was faster
			}
		}
	}
	var seen sync.Map // certificates and bundles
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			var client *http.Client
			var read int64
			for mine := 0; started.Add(1) <= reviews; mine++ {
				at := minutes.Add(1)
				if client == nil || at-read >= 100 {
					if client != nil {
						client.CloseIdleConnections()
					}
					bundle := bundleOf(api, webhookKinds[mine%2])
					client, read = trusting(bundle, now), at
					seen.Store("bundle "+string(bundle), true)
				}
				r := replicas[mine%2]
				if at%10 == 0 {
					r.certs.sync(t.Context()) // a conflict is looked at again
				}
				path, object := "/pods", podToInject
				if mine%3 == 0 {
					path, object = "/networks", nadToWarnOf
				}
				answer, err := ask(client, r.url+path, object)
				if err != nil || !answer.Allowed || len(answer.Patch) == 0 && len(answer.Warnings) == 0 {
					failed.Add(1)
					t.Log(at, err, answer)
				}
				seen.Store("certificate "+string(r.certs.current.Load().Certificate[0]), true)
			}
			client.CloseIdleConnections()
		})
	}
	all.Wait()
	kinds := map[string]int{}
	seen.Range(func(key, _ any) bool {
		kind, _, _ := bytes.Cut([]byte(key.(string)), []byte(" "))
		kinds[string(kind)]++
		return true
	})
	t.Log(kinds)
	assert.Zero(t, failed.Load(), "reviews that failed")
	assert.Greater(t, kinds["certificate"], 10)
	assert.Greater(t, kinds["bundle"], 3)
}

// TestCertificatesAreLookedAfter: what somebody takes away comes back, and of two replicas that
// are at work at once one is late.
func TestCertificatesAreLookedAfter(t *testing.T) {
	api := newHookAPI(t)
	at := time.Now()
	r := startReplica(t, api, certificateLives, func() time.Time { return at })
	assert.ErrorIs(t, r.certs.unready(), errNoCertificate)
	require.NoError(t, r.certs.sync(t.Context()))
	require.NoError(t, r.certs.unready())
	bundle := bundleOf(api, kubefake.MutatingHooks)
	api.Requests()
	require.NoError(t, r.certs.sync(t.Context()))
	assert.Equal(t, map[string]int{"get secrets": 1, "get " + webhookKinds[0]: 1, "get " + webhookKinds[1]: 1}, api.Requests(), "nothing is to be done")

	other := base64.StdEncoding.EncodeToString([]byte("another"))
	api.Put(kubefake.MutatingHooks, "", ownWebhook.Name, map[string]any{"webhooks": []any{map[string]any{"name": "a", "clientConfig": map[string]any{"caBundle": other}}}})
	require.NoError(t, r.certs.sync(t.Context()))
	assert.Equal(t, bundle, bundleOf(api, kubefake.MutatingHooks))

	configurations, err := r.certs.configurations(t.Context())
	require.NoError(t, err)
	api.Put(kubefake.MutatingHooks, "", ownWebhook.Name, map[string]any{"webhooks": []any{map[string]any{"name": "a", "clientConfig": map[string]any{}}}})
	require.Error(t, r.certs.publish(t.Context(), configurations[0], []byte("late")))
	api.Put(kubefake.Secrets, ownWebhook.Namespace, ownWebhook.Name, map[string]any{"type": "Opaque"})
	require.NoError(t, r.certs.sync(t.Context()))
	assert.NotEqual(t, bundle, bundleOf(api, kubefake.MutatingHooks), "a Secret that was emptied means new certificates")

	api.Remove(kubefake.ValidatingHooks, "", ownWebhook.Name)
	require.NoError(t, r.certs.sync(t.Context()), "who wants only pods to be reviewed deletes it")
	api.Refusing("patch "+webhookKinds[0], http.StatusForbidden)
	api.Refusing("get "+webhookKinds[0], http.StatusInternalServerError)
	assert.ErrorContains(t, r.certs.sync(t.Context()), "mutatingwebhookconfigurations multibond-webhook")
	fresh := startReplica(t, api, certificateLives, func() time.Time { return at })
	assert.Error(t, fresh.certs.sync(t.Context()))
	assert.NoError(t, fresh.certs.unready(), "the certificate is there")
	at = at.AddDate(1, 0, 0)
	assert.Error(t, r.certs.unready(), "expired")
}
