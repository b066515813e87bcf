package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"
)

// executed is what a command in a pod has done.
type executed struct {
	out, errs string
	code      int
}

// defaultContainer is the annotation with the name of the container for kubectl exec.
const defaultContainer = "kubectl.kubernetes.io/default-container"

// containerOf returns the container of a pod in which commands are executed: the one that its
// annotation names, as for kubectl exec, or the first.
func containerOf(pod *corev1.Pod) string {
	return cmp.Or(pod.Annotations[defaultContainer], pod.Spec.Containers[0].Name)
}

// execInPod executes a command in a container of a pod. The error says that it could
// not be executed, or that its end is not known.
func (e *env) execInPod(ctx context.Context, pod *corev1.Pod, command []string) (executed, error) {
	config, err := e.config()
	if err != nil {
		return executed{}, err
	}
	core, _, err := e.clients()
	if err != nil {
		return executed{}, err
	}
	where := core.RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: containerOf(pod), Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec).URL()
	old, err := remotecommand.NewSPDYExecutor(config, http.MethodPost, where)
	if err != nil {
		return executed{}, err
	}
	socket, err := remotecommand.NewWebSocketExecutor(config, http.MethodGet, where.String())
	if err != nil {
		return executed{}, err
	}
	executor, err := remotecommand.NewFallbackExecutor(socket, old, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return executed{}, err
	}
	var out, errs bytes.Buffer
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &errs})
	done := executed{out: out.String(), errs: errs.String()}
	if exit, is := errors.AsType[exec.CodeExitError](err); is {
		done.code, err = exit.Code, nil
	}
	return done, err
}
