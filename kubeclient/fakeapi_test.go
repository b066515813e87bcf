package kubeclient

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// fakeAPI is an API server with state that is reached over HTTP. It answers the
// agent's requests like a real one, and counts them.
type fakeAPI struct {
	t       testing.TB
	address string
	server  *http.Server

	lock     sync.Mutex
	objects  map[string]map[string]any // "pods/demo/p" -> the object
	version  int
	watchers map[chan change]string // -> resource
	counts   map[string]int         // "get pods" -> requests
	refuse   map[string]int         // "patch pods" -> the status to answer with
}

// change is one event of a watch.
type change struct {
	Type   string         `json:"type"`
	Object map[string]any `json:"object"`
}

func newFakeAPI(t testing.TB) *fakeAPI {
	t.Helper()
	f := &fakeAPI{
		t: t, objects: map[string]map[string]any{}, version: 100,
		watchers: map[chan change]string{}, counts: map[string]int{}, refuse: map[string]int{},
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f.address = l.Addr().String()
	f.serve(l)
	t.Cleanup(f.stop)
	return f
}

func (f *fakeAPI) config() *rest.Config { return &rest.Config{Host: "http://" + f.address} }

func (f *fakeAPI) serve(l net.Listener) {
	mux := http.NewServeMux()
	for _, base := range []string{"/api/v1", "/apis/k8s.cni.cncf.io/v1", "/apis/resource.k8s.io/v1"} {
		mux.HandleFunc("GET "+base+"/{resource}", f.list)
		mux.HandleFunc("GET "+base+"/namespaces/{namespace}/{resource}/{name}", f.get)
		mux.HandleFunc("POST "+base+"/namespaces/{namespace}/{resource}", f.create)
		mux.HandleFunc("PATCH "+base+"/namespaces/{namespace}/{resource}/{name}/status", f.patch)
	}
	f.server = &http.Server{Handler: mux}
	go f.server.Serve(l)
}

// stop ends the server and all of its connections. The state stays.
func (f *fakeAPI) stop() { f.server.Close() }

// start serves again at the same address.
func (f *fakeAPI) start() {
	f.t.Helper()
	var l net.Listener
	eventually(f.t, func(c *assert.CollectT) {
		var err error
		l, err = net.Listen("tcp", f.address)
		require.NoError(c, err)
	})
	f.serve(l)
}

// drain answers all requests that were sent and then serves again. It is for requests
// of a sender that has ended, which may arrive later.
func (f *fakeAPI) drain() {
	f.t.Helper()
	require.NoError(f.t, f.server.Shutdown(context.Background()))
	f.start()
}

// put adds or replaces an object.
func (f *fakeAPI) put(resource, namespace, name string, object map[string]any) {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.store(resource, namespace, name, object)
}

func (f *fakeAPI) store(resource, namespace, name string, object map[string]any) {
	key := strings.Join([]string{resource, namespace, name}, "/")
	_, there := f.objects[key]
	f.version++
	meta, _ := object["metadata"].(map[string]any)
	meta = merge(meta, map[string]any{"namespace": namespace, "name": name, "resourceVersion": strconv.Itoa(f.version)})
	object = merge(object, map[string]any{"kind": kinds[resource], "apiVersion": versions[resource], "metadata": meta})
	f.objects[key] = object
	kind := "ADDED"
	if there {
		kind = "MODIFIED"
	}
	f.tell(resource, change{kind, object})
}

func (f *fakeAPI) remove(resource, namespace, name string) {
	f.lock.Lock()
	defer f.lock.Unlock()
	key := strings.Join([]string{resource, namespace, name}, "/")
	object := f.objects[key]
	delete(f.objects, key)
	f.version++
	object["metadata"] = merge(object["metadata"].(map[string]any), map[string]any{"resourceVersion": strconv.Itoa(f.version)})
	f.tell(resource, change{"DELETED", object})
}

func (f *fakeAPI) tell(resource string, c change) {
	for w, of := range f.watchers {
		if of == resource {
			w <- c
		}
	}
}

var (
	kinds = map[string]string{podResource: "Pod", nadResource: "NetworkAttachmentDefinition", eventResource: "Event", claimResource: "ResourceClaim", sliceResource: "ResourceSlice"}

	versions = map[string]string{podResource: "v1", nadResource: "k8s.cni.cncf.io/v1", eventResource: "v1", claimResource: "resource.k8s.io/v1", sliceResource: "resource.k8s.io/v1"}
)

// merge applies a JSON merge patch (RFC 7396) to a copy of old.
func merge(old, patch map[string]any) map[string]any {
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
			out[key] = merge(was, inner)
		default:
			out[key] = value
		}
	}
	return out
}

// counted counts a request, and refuses it if the test asked for that.
func (f *fakeAPI) counted(w http.ResponseWriter, verb, resource string) (refused bool) {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.counts[verb+" "+resource]++
	code := f.refuse[verb+" "+resource]
	if code != 0 {
		answerStatus(w, code, metav1.StatusReasonUnknown, "refused by the test")
	}
	return code != 0
}

// requests returns the number of requests by verb and resource since the last call.
func (f *fakeAPI) requests() map[string]int {
	f.lock.Lock()
	defer f.lock.Unlock()
	out := f.counts
	f.counts = map[string]int{}
	return out
}

func (f *fakeAPI) refusing(request string, code int) {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.refuse[request] = code
}

// of returns the objects of a resource, by namespace and name.
func (f *fakeAPI) of(resource string) (out []map[string]any) {
	f.lock.Lock()
	defer f.lock.Unlock()
	for _, key := range slices.Sorted(maps.Keys(f.objects)) {
		if strings.HasPrefix(key, resource+"/") {
			out = append(out, f.objects[key])
		}
	}
	return out
}

func (f *fakeAPI) object(resource, namespace, name string) map[string]any {
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

func (f *fakeAPI) get(w http.ResponseWriter, r *http.Request) {
	resource, namespace, name := r.PathValue("resource"), r.PathValue("namespace"), r.PathValue("name")
	if f.counted(w, "get", resource) {
		return
	}
	object := f.object(resource, namespace, name)
	if object == nil {
		answerStatus(w, http.StatusNotFound, metav1.StatusReasonNotFound, fmt.Sprintf("%s %q not found", resource, name))
		return
	}
	answer(w, http.StatusOK, object)
}

// patch rejects a patch with another UID like a real API server: the field is
// immutable (k8s.io/apiserver, pkg/registry/rest/update.go, and k8s.io/apimachinery,
// pkg/api/validation/objectmeta.go).
func (f *fakeAPI) patch(w http.ResponseWriter, r *http.Request) {
	resource, namespace, name := r.PathValue("resource"), r.PathValue("namespace"), r.PathValue("name")
	if f.counted(w, "patch", resource) {
		return
	}
	var patch map[string]any
	if err := json.NewDecoder(r.Body).Decode(&patch); err != nil || r.Header.Get("Content-Type") != "application/merge-patch+json" {
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
	f.store(resource, namespace, name, merge(old, patch))
	answer(w, http.StatusOK, f.objects[strings.Join([]string{resource, namespace, name}, "/")])
}

func (f *fakeAPI) create(w http.ResponseWriter, r *http.Request) {
	resource, namespace := r.PathValue("resource"), r.PathValue("namespace")
	if f.counted(w, "create", resource) {
		return
	}
	var object map[string]any
	if err := json.NewDecoder(r.Body).Decode(&object); err != nil {
		answerStatus(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		return
	}
	name := object["metadata"].(map[string]any)["name"].(string)
	if f.object(resource, namespace, name) != nil {
		answerStatus(w, http.StatusConflict, metav1.StatusReasonAlreadyExists, fmt.Sprintf("%s %q already exists", resource, name))
		return
	}
	f.put(resource, namespace, name, object)
	answer(w, http.StatusCreated, f.object(resource, namespace, name))
}

// list lists objects, or watches them. A watch begins with the initial events, which
// is how client-go asks for both at once.
func (f *fakeAPI) list(w http.ResponseWriter, r *http.Request) {
	resource, watching := r.PathValue("resource"), r.URL.Query().Get("watch") != ""
	verb := "list"
	if watching {
		verb = "watch"
	}
	if f.counted(w, verb, resource) {
		return
	}
	_, node, _ := strings.Cut(r.URL.Query().Get("fieldSelector"), "spec.nodeName=")
	selected := func(object map[string]any) bool {
		spec, _ := object["spec"].(map[string]any)
		return node == "" || spec["nodeName"] == node
	}
	if watching {
		f.watch(w, r, resource, selected)
		return
	}
	items := slices.DeleteFunc(f.of(resource), func(o map[string]any) bool { return !selected(o) })
	f.lock.Lock()
	version := strconv.Itoa(f.version)
	f.lock.Unlock()
	answer(w, http.StatusOK, map[string]any{
		"kind": kinds[resource] + "List", "apiVersion": versions[resource], "metadata": map[string]any{"resourceVersion": version}, "items": items,
	})
}

func (f *fakeAPI) watch(w http.ResponseWriter, r *http.Request, resource string, selected func(map[string]any) bool) {
	changes := make(chan change, 10000)
	f.lock.Lock()
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
