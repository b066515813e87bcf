package kubeclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/cnierror"
)

// largestReview is more than an object of the API server's greatest size, twice. All requests
// that are held at once have at most largestReviews, so that many large pods do not exhaust
// the memory.
const (
	largestReview  = 7 << 20
	largestReviews = 16 << 20
)

// reviewPages serves the reviews of NADs and of pods, /healthz, and /readyz, which succeeds
// while the API server can call the others.
func reviewPages(r Reviewer, certs *certificates, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := certs.unready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Write([]byte("ok\n"))
	})
	slots := make(chan struct{}, reviewsAtOnce)
	var held heldBytes
	serve := func(review func(context.Context, *admissionv1.AdmissionRequest) Review) http.HandlerFunc {
		return func(w http.ResponseWriter, request *http.Request) {
			ctx, cancel := context.WithTimeout(request.Context(), webhookTimeout)
			defer cancel()
			// Whoever sends slowly has no slot.
			body, err := held.read(w, request)
			defer held.release(body)
			if err != nil {
				http.Error(w, "reading the review: "+err.Error(), http.StatusServiceUnavailable)
				return
			}
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
			case <-ctx.Done():
				http.Error(w, "too many reviews at once", http.StatusServiceUnavailable)
				return
			}
			answerReview(ctx, w, body, review, log)
		}
	}
	mux.HandleFunc("POST /networks", serve(r.reviewNAD))
	mux.HandleFunc("POST /pods", serve(r.reviewPod))
	return mux
}

func (r Reviewer) reviewNAD(ctx context.Context, request *admissionv1.AdmissionRequest) Review {
	nad := &nettypes.NetworkAttachmentDefinition{}
	if err := json.Unmarshal(request.Object.Raw, nad); err != nil {
		return Review{Err: fmt.Errorf("the NetworkAttachmentDefinition cannot be read: %w", err)}
	}
	nad.Namespace = request.Namespace
	return r.ReviewNAD(ctx, nad)
}

func (r Reviewer) reviewPod(ctx context.Context, request *admissionv1.AdmissionRequest) Review {
	return r.ReviewPod(ctx, request.Object.Raw, request.Namespace)
}

// heldBytes counts the bytes of all requests that are held.
type heldBytes struct{ atomic.Int64 }

var errTooManyBytes = errors.New("the reviews that are at work have too many bytes in all")

// read reads the body of a request. What was read is held until release, also after an error.
func (h *heldBytes) read(w http.ResponseWriter, request *http.Request) ([]byte, error) {
	connection := http.NewResponseController(w)
	if err := connection.SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
		return nil, err
	}
	var body bytes.Buffer
	for from := http.MaxBytesReader(w, request.Body, largestReview); ; {
		n, err := io.CopyN(&body, from, 64<<10)
		switch held := h.Add(n); {
		case err == io.EOF:
			// After an error it stays, and ends the connection: what is left of the body is read before
			// the answer. After the whole body it would end the review.
			return body.Bytes(), connection.SetReadDeadline(time.Time{})
		case err != nil:
			return body.Bytes(), err
		case held > largestReviews:
			return body.Bytes(), errTooManyBytes
		}
	}
}

func (h *heldBytes) release(body []byte) { h.Add(-int64(len(body))) }

// answerReview answers one request of the API server.
func answerReview(ctx context.Context, w http.ResponseWriter, body []byte, review func(context.Context, *admissionv1.AdmissionRequest) Review, log *slog.Logger) {
	var asked admissionv1.AdmissionReview
	err := json.Unmarshal(body, &asked)
	if err == nil && asked.Request == nil {
		err = fmt.Errorf("it has no request")
	}
	if err != nil {
		http.Error(w, "this is no AdmissionReview: "+err.Error(), http.StatusBadRequest)
		return
	}
	found := review(ctx, asked.Request)
	response, err := found.response(asked.Request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if found.Err != nil {
		log.InfoContext(ctx, "refused", "kind", asked.Request.Kind.Kind, "namespace", asked.Request.Namespace, "name", asked.Request.Name, "error", code.Text(found.Err))
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(admissionv1.AdmissionReview{TypeMeta: asked.TypeMeta, Response: response})
}

// response is the review as the API server reads it.
func (r Review) response(to *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error) {
	out := &admissionv1.AdmissionResponse{UID: to.UID, Allowed: r.Err == nil, Warnings: r.Warnings}
	if r.Err != nil {
		out.Result = &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid, Message: code.Text(r.Err)}
		if cnierror.Code(r.Err) == types.ErrTryAgainLater {
			out.Result.Code, out.Result.Reason = http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable
		}
		return out, nil
	}
	if len(r.Patch) == 0 {
		return out, nil
	}
	form := admissionv1.PatchTypeJSONPatch
	out.PatchType = &form
	var err error
	out.Patch, err = json.Marshal(r.Patch)
	return out, err
}
