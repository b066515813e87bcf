package kubeclient

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
)

const (
	tokenReviews  = "tokenreviews"
	accessReviews = "subjectaccessreviews"

	allowedFor = 5 * time.Minute  // until a token is asked for again
	refusedFor = 10 * time.Second // so that a new right is soon good
	mostTokens = 1000             // that are remembered

	asksPerSecond, mostAsks = 5, 20 // for tokens that are not remembered: anybody can make them up
)

// The reasons why a token is refused.
var (
	errNoToken   = errors.New("no bearer token")
	errBadToken  = errors.New("the API server does not know the token")
	errForbidden = errors.New("may not get /metrics")
	errTooMany   = errors.New("too many tokens that are not known yet; try again")
)

// readers asks the API server who may read metrics, and remembers the answers.
type readers struct {
	tokens, access rest.Interface
	limit          flowcontrol.RateLimiter

	mu    sync.Mutex
	known map[[sha256.Size]byte]verdict
}

// verdict is what the API server has said of a token.
type verdict struct {
	code  int
	err   error // nil: it may read
	until time.Time
}

func newReaders(config *rest.Config) (*readers, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(authenticationv1.AddToScheme(scheme), authorizationv1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	r := &readers{known: map[[sha256.Size]byte]verdict{}, limit: flowcontrol.NewTokenBucketRateLimiter(asksPerSecond, mostAsks)}
	var errs [2]error
	r.tokens, errs[0] = newClient(config, scheme, "/apis", authenticationv1.SchemeGroupVersion, runtime.ContentTypeJSON)
	r.access, errs[1] = newClient(config, scheme, "/apis", authorizationv1.SchemeGroupVersion, runtime.ContentTypeJSON)
	return r, errors.Join(errs[:]...)
}

// check returns nil if the owner of a token may read metrics, or why not and the status of
// HTTP for that.
func (r *readers) check(ctx context.Context, token string) (int, error) {
	if token == "" {
		return http.StatusUnauthorized, errNoToken
	}
	key := sha256.Sum256([]byte(token))
	if v, there := r.remembered(key); there {
		return v.code, v.err
	}
	if !r.limit.TryAccept() {
		return http.StatusServiceUnavailable, errTooMany
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	code, err := r.ask(ctx, token)
	if code != http.StatusServiceUnavailable { // the API server has answered
		r.remember(key, code, err)
	}
	return code, err
}

func (r *readers) remembered(key [sha256.Size]byte) (verdict, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, there := r.known[key]
	return v, there && time.Now().Before(v.until)
}

func (r *readers) remember(key [sha256.Size]byte, code int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, keep := time.Now(), allowedFor
	if err != nil {
		keep = refusedFor
	}
	if len(r.known) >= mostTokens {
		for k, v := range r.known {
			if v.err != nil || now.After(v.until) {
				delete(r.known, k)
			}
		}
	}
	if len(r.known) < mostTokens {
		r.known[key] = verdict{code: code, err: err, until: now.Add(keep)}
	}
}

// ask asks the API server whose a token is, and whether they may get /metrics.
func (r *readers) ask(ctx context.Context, token string) (int, error) {
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	if err := r.tokens.Post().Resource(tokenReviews).Body(review).Do(ctx).Into(review); err != nil {
		return http.StatusServiceUnavailable, fmt.Errorf("asking the API server: %w", err)
	}
	if !review.Status.Authenticated {
		return http.StatusUnauthorized, errBadToken
	}
	user := review.Status.User
	access := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: map[string]authorizationv1.ExtraValue{},
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"},
	}}
	for name, values := range user.Extra {
		access.Spec.Extra[name] = authorizationv1.ExtraValue(values)
	}
	if err := r.access.Post().Resource(accessReviews).Body(access).Do(ctx).Into(access); err != nil {
		return http.StatusServiceUnavailable, fmt.Errorf("asking the API server: %w", err)
	}
	if !access.Status.Allowed {
		return http.StatusForbidden, fmt.Errorf("%s %w", user.Username, errForbidden)
	}
	return http.StatusOK, nil
}
