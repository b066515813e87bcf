package kubeclient

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/multibond/multibond/kubeclient/rotation"
)

// certificates are those of the webhooks' server. A Secret has them for all replicas, and the
// webhook configurations have the CAs that the API server trusts. Each replica looks after
// both: two that do so at once find that one of them was late, and look again.
type certificates struct {
	own       types.NamespacedName
	names     []string // by which the API server calls
	policy    rotation.Policy
	now       func() time.Time
	secrets   rest.Interface
	admission rest.Interface
	timeout   time.Duration
	current   atomic.Pointer[tls.Certificate]
	probed    *tls.Certificate      // for probes, while there is no other
	failed    atomic.Pointer[error] // why the last look found none
	log       *slog.Logger
}

const (
	certificatePeriod = 30 * time.Second // how often each replica looks
	certificateRetry  = time.Second
)

// webhookKinds are the resources of the webhook configurations.
var webhookKinds = []string{"mutatingwebhookconfigurations", "validatingwebhookconfigurations"}

func newCertificates(api *api, config *rest.Config, own types.NamespacedName, policy rotation.Policy, now func() time.Time, log *slog.Logger) (*certificates, error) {
	admission, err := newClient(config, runtime.NewScheme(), "/apis", schema.GroupVersion{Group: "admissionregistration.k8s.io", Version: "v1"}, runtime.ContentTypeJSON)
	if err != nil {
		return nil, err
	}
	probed, err := ownCertificate(now())
	return &certificates{
		own: own, names: []string{own.Name + "." + own.Namespace + ".svc"}, policy: policy, now: now,
		secrets: api.core, admission: admission, timeout: api.timeout, log: log, probed: probed,
	}, err
}

// follow looks after the certificates until ctx ends.
func (c *certificates) follow(ctx context.Context) {
	for ctx.Err() == nil {
		wait := certificatePeriod
		if err := c.sync(ctx); err != nil {
			c.failed.Store(&err)
			wait = certificateRetry
			if !apierrors.IsConflict(err) {
				wait *= 5
				c.log.WarnContext(ctx, "the webhooks' certificates cannot be looked after; trying again", "error", err)
			}
		}
		pause(ctx, wait)
	}
}

// sync renews what is due, tells the API server, and then serves it.
func (c *certificates) sync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	// Read before the Secret: what was published by an older Secret is then refused.
	configurations, unread := c.configurations(ctx)
	secret := &corev1.Secret{}
	if err := c.secrets.Get().Namespace(c.own.Namespace).Resource(secretResource).Name(c.own.Name).Do(ctx).Into(secret); err != nil {
		return fmt.Errorf("secret %s: %w", c.own, err)
	}
	before := keptIn(secret)
	if c.current.Load() == nil {
		_ = c.load(before) // it serves, whatever hinders a renewal
	}
	if unread != nil {
		return unread
	}
	kept, err := c.policy.Next(before, c.names, isPublished(configurations, before.Bundle), c.now())
	if err != nil {
		return fmt.Errorf("making certificates: %w", err)
	}
	if err := c.keep(ctx, secret, before, kept); err != nil {
		return fmt.Errorf("secret %s: %w", c.own, err)
	}
	for _, one := range configurations {
		if err := c.publish(ctx, one, kept.Bundle); err != nil {
			return fmt.Errorf("%s %s: %w", one.kind, c.own.Name, err)
		}
	}
	return c.load(kept)
}

// keep writes what is new into the Secret, unless somebody else has changed it.
func (c *certificates) keep(ctx context.Context, secret *corev1.Secret, before, kept rotation.Kept) error {
	if equalKept(before, kept) {
		return nil
	}
	secret.Data = map[string][]byte{caBundleKey: kept.Bundle, caKeyKey: kept.CAKey, corev1.TLSCertKey: kept.Cert, corev1.TLSPrivateKeyKey: kept.Key}
	err := c.secrets.Put().Namespace(c.own.Namespace).Resource(secretResource).Name(c.own.Name).Body(secret).Do(ctx).Error()
	if err == nil {
		c.log.InfoContext(ctx, "renewed certificates", "secret", c.own.String(), "newCA", !bytes.Equal(before.CAKey, kept.CAKey), "newCertificate", !bytes.Equal(before.Cert, kept.Cert))
	}
	return err
}

// The keys of the Secret.
const secretResource, caBundleKey, caKeyKey = "secrets", "ca.crt", "ca.key"

func keptIn(secret *corev1.Secret) rotation.Kept {
	return rotation.Kept{Bundle: secret.Data[caBundleKey], CAKey: secret.Data[caKeyKey], Cert: secret.Data[corev1.TLSCertKey], Key: secret.Data[corev1.TLSPrivateKeyKey]}
}

func equalKept(a, b rotation.Kept) bool {
	return bytes.Equal(a.Bundle, b.Bundle) && bytes.Equal(a.CAKey, b.CAKey) && bytes.Equal(a.Cert, b.Cert) && bytes.Equal(a.Key, b.Key)
}

// webhookConfiguration is what is read of one. The types of all its fields would cost the
// agent memory.
type webhookConfiguration struct {
	kind     string
	Metadata struct {
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Webhooks []webhookEntry `json:"webhooks"`
}

type webhookEntry struct {
	Name         string `json:"name"`
	ClientConfig struct {
		CABundle []byte `json:"caBundle"`
	} `json:"clientConfig"`
}

func (c *certificates) configurations(ctx context.Context) (out []webhookConfiguration, err error) {
	for _, kind := range webhookKinds {
		one := webhookConfiguration{kind: kind}
		raw, err := c.admission.Get().Resource(kind).Name(c.own.Name).Do(ctx).Raw()
		if apierrors.IsNotFound(err) {
			continue // who wants only the other one deletes it
		}
		if err == nil {
			err = json.Unmarshal(raw, &one)
		}
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", kind, c.own.Name, err)
		}
		out = append(out, one)
	}
	return out, nil
}

// isPublished reports whether the API server is told of all CAs of a bundle.
func isPublished(configurations []webhookConfiguration, bundle []byte) bool {
	for _, one := range configurations {
		if slices.ContainsFunc(one.Webhooks, func(w webhookEntry) bool { return !bytes.Equal(w.ClientConfig.CABundle, bundle) }) {
			return false
		}
	}
	return true
}

// publish tells the API server of all CAs, unless somebody else has changed the configuration.
func (c *certificates) publish(ctx context.Context, one webhookConfiguration, bundle []byte) error {
	if isPublished([]webhookConfiguration{one}, bundle) {
		return nil
	}
	for i := range one.Webhooks {
		one.Webhooks[i].ClientConfig.CABundle = bundle
	}
	patch, err := json.Marshal(one)
	if err != nil {
		return err
	}
	return c.admission.Patch(types.StrategicMergePatchType).Resource(one.kind).Name(c.own.Name).Body(patch).Do(ctx).Error()
}

// load serves the certificate from now on.
func (c *certificates) load(kept rotation.Kept) error {
	pair, err := tls.X509KeyPair(kept.Cert, kept.Key)
	if err == nil {
		c.current.Store(&pair)
	}
	return err
}

var errNoCertificate = errors.New("there is no certificate that the API server trusts yet")

func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return cmp.Or(c.current.Load(), c.probed), nil
}

// unready returns why the API server cannot call, or nil if it can.
func (c *certificates) unready() error {
	now, failed := c.current.Load(), c.failed.Load()
	switch {
	case now == nil && failed != nil:
		return fmt.Errorf("%w: %w", errNoCertificate, *failed)
	case now == nil:
		return errNoCertificate
	case c.now().After(now.Leaf.NotAfter):
		return x509.CertificateInvalidError{Cert: now.Leaf, Reason: x509.Expired}
	}
	return nil
}
