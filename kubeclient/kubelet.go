package kubeclient

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpcstatus "google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	podresourcesv1 "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/cnierror"
)

// Kubelet is where the kubelet reports which devices it assigned to a pod.
type Kubelet struct {
	Socket     string // of the PodResources API
	Checkpoint string // the kubelet's file of device allocations
	Timeout    time.Duration
}

// maxAnswer is the most bytes of a kubelet's answer; the kubelet has the same limit.
const maxAnswer = 16 << 20

// The waits after the kubelet rejected a request by its rate limit: 100 requests a
// second with bursts of 10.
const (
	firstBackoff = 20 * time.Millisecond
	lastBackoff  = 500 * time.Millisecond
)

// errNoAnswer is wrapped if a source has no answer, so that the next one is asked.
var errNoAnswer = errors.New("it has no answer")

// Containers returns the devices of a pod from Get, List or the checkpoint, whichever
// is the first to have an answer. how names that source. The code of an error is
// 11.
func (k Kubelet) Containers(ctx context.Context, pod *corev1.Pod, claims Claims) (containers []Container, how string, err error) {
	ctx, cancel := context.WithTimeout(ctx, k.Timeout)
	defer cancel()
	client, stop, err := k.connect()
	if err != nil {
		return nil, "", err
	}
	defer stop()
	q := question{kubelet: k, client: client, pod: pod, claims: claims}
	var failed []error
	for _, source := range []struct {
		name string
		ask  func(context.Context) ([]Container, error)
	}{{"PodResources Get", q.get}, {"PodResources List", q.list}, {"checkpoint", q.checkpoint}} {
		containers, err := source.ask(ctx)
		if err == nil {
			return containers, source.name, nil
		}
		failed = append(failed, fmt.Errorf("%s: %w", source.name, err))
		if !errors.Is(err, errNoAnswer) {
			break
		}
	}
	return nil, "", cnierror.With(cnitypes.ErrTryAgainLater, fmt.Errorf("devices of pod %s/%s from the kubelet: %w", pod.Namespace, pod.Name, join(failed...)))
}

// connect returns a client, and what ends its connection. Each lookup has its own
// connection. A kept one would delay the first lookup after a restart of the kubelet by its
// own backoff.
func (k Kubelet) connect() (podresourcesv1.PodResourcesListerClient, func() error, error) {
	connection, err := grpc.NewClient("unix://"+k.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)))
	if err != nil {
		return nil, nil, fmt.Errorf("the kubelet's socket %s: %w", k.Socket, err)
	}
	return podresourcesv1.NewPodResourcesListerClient(connection), connection.Close, nil
}

// devices returns what the kubelet can give to pods, and what it has given.
func (k Kubelet) devices(ctx context.Context) (can *podresourcesv1.AllocatableResourcesResponse, has *podresourcesv1.ListPodResourcesResponse, err error) {
	ctx, cancel := context.WithTimeout(ctx, k.Timeout)
	defer cancel()
	client, stop, err := k.connect()
	if err != nil {
		return nil, nil, err
	}
	defer stop()
	can, err = patiently(ctx, func() (*podresourcesv1.AllocatableResourcesResponse, error) {
		return client.GetAllocatableResources(ctx, &podresourcesv1.AllocatableResourcesRequest{})
	})
	if err != nil {
		return nil, nil, err
	}
	has, err = patiently(ctx, func() (*podresourcesv1.ListPodResourcesResponse, error) {
		return client.List(ctx, &podresourcesv1.ListPodResourcesRequest{})
	})
	return can, has, err
}

// question asks for the devices of one pod.
type question struct {
	kubelet Kubelet
	client  podresourcesv1.PodResourcesListerClient
	pod     *corev1.Pod
	claims  Claims
}

func (q question) get(ctx context.Context) ([]Container, error) {
	request := &podresourcesv1.GetPodResourcesRequest{PodNamespace: q.pod.Namespace, PodName: q.pod.Name}
	answer, err := patiently(ctx, func() (*podresourcesv1.GetPodResourcesResponse, error) { return q.client.Get(ctx, request) })
	if err != nil {
		return nil, err
	}
	return FromPodResources(answer.GetPodResources(), ContainerOrder(q.pod), q.claims), nil
}

func (q question) list(ctx context.Context) ([]Container, error) {
	answer, err := patiently(ctx, func() (*podresourcesv1.ListPodResourcesResponse, error) {
		return q.client.List(ctx, &podresourcesv1.ListPodResourcesRequest{})
	})
	if err != nil {
		return nil, err
	}
	pod, err := FindPod(answer, types.NamespacedName{Namespace: q.pod.Namespace, Name: q.pod.Name})
	if errors.Is(err, errTwice) {
		return nil, fmt.Errorf("%w: %w", errNoAnswer, err) // the checkpoint knows pods by UID
	}
	if err != nil {
		return nil, err
	}
	return FromPodResources(pod, ContainerOrder(q.pod), q.claims), nil
}

func (q question) checkpoint(context.Context) ([]Container, error) {
	raw, err := atomicfile.Read(q.kubelet.Checkpoint, maxAnswer)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w (the agent has it with the component deploy/checkpoint)", err)
	}
	if err != nil {
		return nil, err
	}
	return FromCheckpoint(raw, q.pod.UID, ContainerOrder(q.pod))
}

// patiently repeats ask while the kubelet's rate limit rejects it. The error wraps
// errNoAnswer if another source may have an answer.
func patiently[T any](ctx context.Context, ask func() (T, error)) (T, error) {
	for wait := firstBackoff; ; wait = min(2*wait, lastBackoff) {
		answer, err := ask()
		switch grpcstatus.Code(err) {
		case codes.ResourceExhausted:
		case codes.OK, codes.NotFound, codes.DeadlineExceeded, codes.Canceled:
			return answer, err
		default:
			// If Get is disabled, the kubelet answers with an error without a code.
			return answer, fmt.Errorf("%w: %w", errNoAnswer, err)
		}
		select {
		case <-ctx.Done():
			return answer, fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(wait):
		}
	}
}
