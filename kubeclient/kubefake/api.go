// Package kubefake is an API server and a kubelet with state, for tests. What asks
// them is a real client.
package kubefake

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
)

// The resources that the server has.
const (
	Pods   = "pods"
	NADs   = "network-attachment-definitions"
	Events = "events"
	Claims = "resourceclaims"
	Slices = "resourceslices"
	Sets   = "daemonsets"
	Leases = "leases"

	Secrets         = "secrets"
	MutatingHooks   = "mutatingwebhookconfigurations"
	ValidatingHooks = "validatingwebhookconfigurations"

	Deployments = "deployments"
	ReplicaSets = "replicasets"
	ConfigMaps  = "configmaps"

	Nodes = "nodes" // in the namespace ""
)

// Printed is the key of a pod under which a test puts what its containers have printed.
const Printed = "printed"

// API is an API server with state that is reached over HTTP. It answers the
// agent's requests like a real one, and counts them.
type API struct {
	t       testing.TB
	Address string
	server  *http.Server

	lock     sync.Mutex
	objects  map[string]map[string]any // "pods/demo/p" -> the object
	version  int
	changed  map[string]int         // resource -> the version of its last change
	watchers map[chan change]string // -> resource
	counts   map[string]int         // "get pods" -> requests
	refuse   map[string]int         // "patch pods" -> the status to answer with
}

// change is one event of a watch.
type change struct {
	Type   string         `json:"type"`
	Object map[string]any `json:"object"`
}

// NewAPI starts a server without objects.
func NewAPI(t testing.TB) *API {
	t.Helper()
	f := &API{
		t: t, objects: map[string]map[string]any{}, version: 100,
		changed: map[string]int{}, watchers: map[chan change]string{}, counts: map[string]int{}, refuse: map[string]int{},
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f.Address = l.Addr().String()
	f.serve(l)
	t.Cleanup(f.Stop)
	return f
}

// Config returns what a client needs.
func (f *API) Config() *rest.Config { return &rest.Config{Host: "http://" + f.Address} }

func (f *API) serve(l net.Listener) {
	mux := http.NewServeMux()
	for _, base := range []string{"/api/v1", "/apis/k8s.cni.cncf.io/v1", "/apis/resource.k8s.io/v1", "/apis/apps/v1", "/apis/coordination.k8s.io/v1"} {
		mux.HandleFunc("GET "+base+"/{resource}", f.list)
		mux.HandleFunc("GET "+base+"/namespaces/{namespace}/{resource}", f.list)
		mux.HandleFunc("GET "+base+"/namespaces/{namespace}/{resource}/{name}", f.get)
		mux.HandleFunc("POST "+base+"/namespaces/{namespace}/{resource}", f.create)
		mux.HandleFunc("PUT "+base+"/namespaces/{namespace}/{resource}/{name}/status", f.update)
		mux.HandleFunc("PATCH "+base+"/namespaces/{namespace}/{resource}/{name}/status", f.patch)
		mux.HandleFunc("PATCH "+base+"/namespaces/{namespace}/{resource}/{name}", f.patch)
	}
	mux.HandleFunc("PUT /api/v1/namespaces/{namespace}/{resource}/{name}", f.replace)
	const hooks = "/apis/admissionregistration.k8s.io/v1/{resource}/{name}"
	mux.HandleFunc("GET "+hooks, f.get)
	mux.HandleFunc("PATCH "+hooks, f.patch)
	mux.HandleFunc("GET /api/v1/namespaces/{namespace}/pods/{name}/log", func(w http.ResponseWriter, r *http.Request) {
		pod := f.Object(Pods, r.PathValue("namespace"), r.PathValue("name"))
		printed, _ := pod[Printed].(string)
		io.WriteString(w, printed)
	})
	mux.HandleFunc("DELETE /api/v1/namespaces/{namespace}/{resource}/{name}", func(w http.ResponseWriter, r *http.Request) {
		if !f.counted(w, "delete", r.PathValue("resource")) {
			f.Remove(r.PathValue("resource"), r.PathValue("namespace"), r.PathValue("name"))
			answerStatus(w, http.StatusOK, metav1.StatusReasonUnknown, "")
		}
	})
	f.server = &http.Server{Handler: mux}
	go f.server.Serve(l)
}

// Stop ends the server and all of its connections. The state stays.
func (f *API) Stop() { f.server.Close() }

// Start serves again at the same address.
func (f *API) Start() {
	f.t.Helper()
	var l net.Listener
	require.EventuallyWithT(f.t, func(c *assert.CollectT) {
		var err error
		l, err = net.Listen("tcp", f.Address)
		require.NoError(c, err)
	}, 2*time.Minute, 5*time.Millisecond)
	f.serve(l)
}

// Drain answers all requests that were sent and then serves again. It is for requests
// Of a sender that has ended, which may arrive later.
func (f *API) Drain() {
	f.t.Helper()
	require.NoError(f.t, f.server.Shutdown(context.Background()))
	f.Start()
}

// Put adds or replaces an object.
func (f *API) Put(resource, namespace, name string, object map[string]any) {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.store(resource, namespace, name, object)
}

func (f *API) store(resource, namespace, name string, object map[string]any) {
	key := strings.Join([]string{resource, namespace, name}, "/")
	_, there := f.objects[key]
	f.version++
	meta, _ := object["metadata"].(map[string]any)
	meta = Merge(meta, map[string]any{"namespace": namespace, "name": name, "resourceVersion": strconv.Itoa(f.version)})
	object = Merge(object, map[string]any{"kind": kinds[resource], "apiVersion": versions[resource], "metadata": meta})
	f.objects[key] = object
	kind := "ADDED"
	if there {
		kind = "MODIFIED"
	}
	f.tell(resource, change{kind, object})
}

// Remove deletes an object.
func (f *API) Remove(resource, namespace, name string) {
	f.lock.Lock()
	defer f.lock.Unlock()
	key := strings.Join([]string{resource, namespace, name}, "/")
	object := f.objects[key]
	delete(f.objects, key)
	f.version++
	object["metadata"] = Merge(object["metadata"].(map[string]any), map[string]any{"resourceVersion": strconv.Itoa(f.version)})
	f.tell(resource, change{"DELETED", object})
}

func (f *API) tell(resource string, c change) {
	f.changed[resource] = f.version
	for w, of := range f.watchers {
		if of == resource {
			w <- c
		}
	}
}

var (
	kinds = map[string]string{Pods: "Pod", NADs: "NetworkAttachmentDefinition", Events: "Event", Claims: "ResourceClaim", Slices: "ResourceSlice", Sets: "DaemonSet", Leases: "Lease", Deployments: "Deployment", ReplicaSets: "ReplicaSet", ConfigMaps: "ConfigMap", Secrets: "Secret", Nodes: "Node"}

	versions = map[string]string{Pods: "v1", NADs: "k8s.cni.cncf.io/v1", Events: "v1", Claims: "resource.k8s.io/v1", Slices: "resource.k8s.io/v1", Sets: "apps/v1", Leases: "coordination.k8s.io/v1", Deployments: "apps/v1", ReplicaSets: "apps/v1", ConfigMaps: "v1", Secrets: "v1", Nodes: "v1"}
)

// Merge applies a JSON merge patch (RFC 7396) to a copy of old.
func Merge(old, patch map[string]any) map[string]any {
	out := maps.Clone(old)
	if out == nil {
		out = map[string]any{}
	}
	for key, value := range patch {
		inner, is := value.(map[string]any)
		was, _ := out[key].(map[string]any)
		switch {
		case value == nil:
			delete(out, key)
		case is:
			out[key] = Merge(was, inner)
		default:
			out[key] = value
		}
	}
	return out
}

// mergePod applies a strategic merge patch to a copy of a pod: of the conditions, those of
// the same type are replaced.
func mergePod(old, patch map[string]any) map[string]any {
	out := Merge(old, patch)
	status, _ := patch["status"].(map[string]any)
	more, _ := status["conditions"].([]any)
	if more == nil {
		return out
	}
	was, _ := old["status"].(map[string]any)["conditions"].([]any)
	kept := slices.Clone(was)
	for _, c := range more {
		kind := c.(map[string]any)["type"]
		kept = slices.DeleteFunc(kept, func(k any) bool { return k.(map[string]any)["type"] == kind })
	}
	out["status"].(map[string]any)["conditions"] = append(kept, more...)
	return out
}

// counted counts a request, and refuses it if the test asked for that.
func (f *API) counted(w http.ResponseWriter, verb, resource string) (refused bool) {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.counts[verb+" "+resource]++
	code := f.refuse[verb+" "+resource]
	if code != 0 {
		answerStatus(w, code, metav1.StatusReasonUnknown, "refused by the test")
	}
	return code != 0
}

// Requests returns the number of requests by verb and resource since the last call.
func (f *API) Requests() map[string]int {
	f.lock.Lock()
	defer f.lock.Unlock()
	out := f.counts
	f.counts = map[string]int{}
	return out
}

// Refusing makes the server answer a request, such as "patch pods", with a code.
func (f *API) Refusing(request string, code int) {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.refuse[request] = code
}

// Of returns the objects of a resource, by namespace and name.
func (f *API) Of(resource string) (out []map[string]any) {
	f.lock.Lock()
	defer f.lock.Unlock()
	for _, key := range slices.Sorted(maps.Keys(f.objects)) {
		if strings.HasPrefix(key, resource+"/") {
			out = append(out, f.objects[key])
		}
	}
	return out
}

// Object returns an object, or nil.
func (f *API) Object(resource, namespace, name string) map[string]any {
	f.lock.Lock()
	defer f.lock.Unlock()
	return f.objects[strings.Join([]string{resource, namespace, name}, "/")]
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(body)
}

func answerStatus(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	answer(w, code, metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
		Code: int32(code), Reason: reason, Message: message,
	})
}

func (f *API) get(w http.ResponseWriter, r *http.Request) {
	resource, namespace, name := r.PathValue("resource"), r.PathValue("namespace"), r.PathValue("name")
	if f.counted(w, "get", resource) {
		return
	}
	object := f.Object(resource, namespace, name)
	if object == nil {
		answerStatus(w, http.StatusNotFound, metav1.StatusReasonNotFound, fmt.Sprintf("%s %q not found", resource, name))
		return
	}
	answer(w, http.StatusOK, object)
}

// patch rejects a patch with another UID like a real API server: the field is
// immutable (k8s.io/apiserver, pkg/registry/rest/update.go, and k8s.io/apimachinery,
// pkg/api/validation/objectmeta.go).
func (f *API) patch(w http.ResponseWriter, r *http.Request) {
	resource, namespace, name := r.PathValue("resource"), r.PathValue("namespace"), r.PathValue("name")
	if f.counted(w, "patch", resource) {
		return
	}
	var patch map[string]any
	kind := map[bool]string{true: "application/merge-patch+json", false: "application/strategic-merge-patch+json"}[resource == Leases]
	if err := json.NewDecoder(r.Body).Decode(&patch); err != nil || r.Header.Get("Content-Type") != kind {
		answerStatus(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, fmt.Sprint(err))
		return
	}
	f.lock.Lock()
	defer f.lock.Unlock()
	old := f.objects[strings.Join([]string{resource, namespace, name}, "/")]
	if old == nil {
		answerStatus(w, http.StatusNotFound, metav1.StatusReasonNotFound, fmt.Sprintf("%s %q not found", resource, name))
		return
	}
	is, wanted := old["metadata"].(map[string]any)["uid"], patch["metadata"].(map[string]any)["uid"]
	if wanted != nil && wanted != is {
		answerStatus(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, fmt.Sprintf("Pod %q is invalid: metadata.uid: Invalid value: %q: field is immutable", name, wanted))
		return
	}
	if isOlder(patch, old) {
		answerStatus(w, http.StatusConflict, metav1.StatusReasonConflict, "the object has been modified")
		return
	}
	f.store(resource, namespace, name, mergePod(old, patch))
	answer(w, http.StatusOK, f.objects[strings.Join([]string{resource, namespace, name}, "/")])
}

// update replaces an object, as clients do that do not patch.
func (f *API) update(w http.ResponseWriter, r *http.Request) {
	resource, namespace, name := r.PathValue("resource"), r.PathValue("namespace"), r.PathValue("name")
	if f.counted(w, "update", resource) {
		return
	}
	object, err := decode(r, resource)
	if err != nil {
		answerStatus(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		return
	}
	f.Put(resource, namespace, name, object)
	answer(w, http.StatusOK, f.Object(resource, namespace, name))
}

// replace replaces an object, unless it is not the one that the client has read.
func (f *API) replace(w http.ResponseWriter, r *http.Request) {
	resource, namespace, name := r.PathValue("resource"), r.PathValue("namespace"), r.PathValue("name")
	if f.counted(w, "replace", resource) {
		return
	}
	object, err := decode(r, resource)
	if err != nil {
		answerStatus(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		return
	}
	f.lock.Lock()
	defer f.lock.Unlock()
	key := strings.Join([]string{resource, namespace, name}, "/")
	if old := f.objects[key]; old == nil || isOlder(object, old) {
		answerStatus(w, http.StatusConflict, metav1.StatusReasonConflict, "the object has been modified")
		return
	}
	f.store(resource, namespace, name, object)
	answer(w, http.StatusOK, f.objects[key])
}

// isOlder reports whether an object that a client writes names another version than there is.
func isOlder(written, now map[string]any) bool {
	version := written["metadata"].(map[string]any)["resourceVersion"]
	return version != nil && version != now["metadata"].(map[string]any)["resourceVersion"]
}

// decode reads an object that is written in JSON, or in protobuf, which is how many
// clients send pods and events.
func decode(r *http.Request, resource string) (object map[string]any, err error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if raw, is := bytes.CutPrefix(body, []byte("k8s\x00")); is {
		var envelope runtime.Unknown
		if err := envelope.Unmarshal(raw); err != nil {
			return nil, err
		}
		var typed interface{ Unmarshal([]byte) error }
		switch resource {
		case Pods:
			typed = &corev1.Pod{}
		case Events:
			typed = &corev1.Event{}
		default:
			return nil, fmt.Errorf("%s are no resource that is sent in protobuf", resource)
		}
		if err := typed.Unmarshal(envelope.Raw); err != nil {
			return nil, err
		}
		if body, err = json.Marshal(typed); err != nil {
			return nil, err
		}
	}
	return object, json.Unmarshal(body, &object)
}

func (f *API) create(w http.ResponseWriter, r *http.Request) {
	resource, namespace := r.PathValue("resource"), r.PathValue("namespace")
	if f.counted(w, "create", resource) {
		return
	}
	object, err := decode(r, resource)
	if err != nil {
		answerStatus(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		return
	}
	name := object["metadata"].(map[string]any)["name"].(string)
	key := strings.Join([]string{resource, namespace, name}, "/")
	f.lock.Lock()
	defer f.lock.Unlock()
	if f.objects[key] != nil {
		answerStatus(w, http.StatusConflict, metav1.StatusReasonAlreadyExists, fmt.Sprintf("%s %q already exists", resource, name))
		return
	}
	object = Merge(object, map[string]any{"metadata": map[string]any{"uid": fmt.Sprintf("uid-%d", f.version)}})
	f.store(resource, namespace, name, object)
	answer(w, http.StatusCreated, f.objects[key])
}

// fieldsOf returns the fields of an object that clients select by.
func fieldsOf(object map[string]any) fields.Set {
	spec, _ := object["spec"].(map[string]any)
	involved, _ := object["involvedObject"].(map[string]any)
	text := func(in map[string]any, key string) string { value, _ := in[key].(string); return value }
	return fields.Set{
		"spec.nodeName": text(spec, "nodeName"), "spec.driver": text(spec, "driver"),
		"reportingComponent": text(object, "reportingComponent"), "involvedObject.name": text(involved, "name"),
	}
}

// list lists objects, or watches them. A watch begins with the initial events, which
// is how client-go asks for both at once. One that goes on after a change is refused, as by
// a server that has forgotten what was: the client then begins anew.
func (f *API) list(w http.ResponseWriter, r *http.Request) {
	resource, watching := r.PathValue("resource"), r.URL.Query().Get("watch") != ""
	verb := "list"
	if watching {
		verb = "watch"
	}
	if f.counted(w, verb, resource) {
		return
	}
	selector, err := fields.ParseSelector(r.URL.Query().Get("fieldSelector"))
	if err != nil {
		answerStatus(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		return
	}
	byLabel, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		answerStatus(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		return
	}
	namespace := r.PathValue("namespace")
	selected := func(object map[string]any) bool {
		own := metav1.ObjectMeta{}
		meta, _ := json.Marshal(object["metadata"])
		_ = json.Unmarshal(meta, &own)
		return selector.Matches(fieldsOf(object)) && byLabel.Matches(labels.Set(own.Labels)) && (namespace == "" || namespace == own.Namespace)
	}
	if watching {
		f.watch(w, r, resource, selected)
		return
	}
	items := slices.DeleteFunc(f.Of(resource), func(o map[string]any) bool { return !selected(o) })
	f.lock.Lock()
	meta := map[string]any{"resourceVersion": strconv.Itoa(f.version)}
	f.lock.Unlock()
	items, next := pageOf(items, r.URL.Query())
	if next != "" {
		meta["continue"] = next
	}
	answer(w, http.StatusOK, map[string]any{"kind": kinds[resource] + "List", "apiVersion": versions[resource], "metadata": meta, "items": items})
}

// pageOf returns the page of a list that is asked for, and what the next one is asked for by. As
// a real API server, it does not limit what it gives from its cache.
func pageOf(items []map[string]any, query url.Values) (page []map[string]any, next string) {
	from, _ := strconv.Atoi(query.Get("continue"))
	page = items[min(from, len(items)):]
	limit, _ := strconv.Atoi(query.Get("limit"))
	if limit == 0 || query.Get("resourceVersion") == "0" || len(page) <= limit {
		return page, ""
	}
	return page[:limit], strconv.Itoa(from + limit)
}

func (f *API) watch(w http.ResponseWriter, r *http.Request, resource string, selected func(map[string]any) bool) {
	changes := make(chan change, 10000)
	f.lock.Lock()
	if from, err := strconv.Atoi(r.URL.Query().Get("resourceVersion")); err == nil && from < f.changed[resource] && r.URL.Query().Get("sendInitialEvents") != "true" {
		f.lock.Unlock()
		answerStatus(w, http.StatusGone, metav1.StatusReasonExpired, "too old resource version")
		return
	}
	for _, key := range slices.Sorted(maps.Keys(f.objects)) {
		if strings.HasPrefix(key, resource+"/") && r.URL.Query().Get("sendInitialEvents") == "true" {
			changes <- change{"ADDED", f.objects[key]}
		}
	}
	changes <- change{"BOOKMARK", map[string]any{
		"kind": kinds[resource], "apiVersion": versions[resource],
		"metadata": map[string]any{"resourceVersion": strconv.Itoa(f.version), "annotations": map[string]any{metav1.InitialEventsAnnotationKey: "true"}},
	}}
	f.watchers[changes] = resource
	f.lock.Unlock()
	defer func() {
		f.lock.Lock()
		delete(f.watchers, changes)
		f.lock.Unlock()
	}()
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	for {
		select {
		case c := <-changes:
			if c.Type != "BOOKMARK" && !selected(c.Object) {
				continue
			}
			if encoder.Encode(c) != nil {
				return
			}
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}
