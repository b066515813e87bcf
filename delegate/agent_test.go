package delegate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/google/go-cmp/cmp"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/strictjson"
)

// fakeAgent answers each connection with what answer writes, after it has
// read a request.
func fakeAgent(t *testing.T, answer func(AgentRequest, net.Conn)) AgentClient {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "agent.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				var r AgentRequest
				if ReadAgentMessage(conn, &r) == nil {
					answer(r, conn)
				}
			}()
		}
	}()
	return AgentClient{Socket: socket, Timeout: 10 * time.Second}
}

func says(reply AgentReply) func(AgentRequest, net.Conn) {
	return func(_ AgentRequest, conn net.Conn) { WriteAgentMessage(conn, reply) }
}

func TestAgentMessagesArriveWhole(t *testing.T) {
	asked := make(chan AgentRequest, 2)
	want := LookupReply{Pod: Pod{"demo", "p", "u"}, Warnings: []string{"w"}, Attachments: []PodAttachment{
		{Name: "demo/bond-net1", IfName: "bond0", Config: json.RawMessage(`{"a":1}`), Bond: true, Devices: []string{"0000:01:10.0"}},
		{Name: "demo/lan", IfName: "net2", Config: json.RawMessage(`{}`), DefaultRoute: []netip.Addr{}},
		{Name: "demo/lan", IfName: "net3", Config: json.RawMessage(`{}`), DefaultRoute: []netip.Addr{netip.MustParseAddr("10.0.0.1")}},
	}}
	c := fakeAgent(t, func(r AgentRequest, conn net.Conn) {
		asked <- r
		WriteAgentMessage(conn, AgentReply{Version: AgentVersion, Lookup: &want, Publish: &PublishReply{Queued: "why"}})
	})
	lookup := Lookup{ContainerID: "c", Netns: "/n", IfName: "eth0", Pod: want.Pod, Cluster: Cluster{Isolated: true, Network: "n"}, Secondary: true}
	got, err := c.Lookup(t.Context(), lookup)
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if got.Attachments[0].DefaultRoute != nil || got.Attachments[1].DefaultRoute == nil {
		t.Error("a default route that was not asked for and one without gateways are the same")
	}
	publish := Publish{Verb: "ADD", Pod: want.Pod, Steps: []Step{{"bond", 1.5}}, Failure: types.NewError(7, "m", ""),
		Attachments: []PodResult{{Name: "n", IfName: "eth0", Result: &current.Result{CNIVersion: "1.1.0", Interfaces: []*current.Interface{{Name: "eth0", PciID: "0000:01:10.0"}}}}}}
	if got, err := c.Publish(t.Context(), publish); err != nil || got.Queued != "why" {
		t.Error(got, err)
	}
	for _, want := range []AgentRequest{{Version: AgentVersion, Lookup: &lookup}, {Version: AgentVersion, Publish: &publish}} {
		if diff := cmp.Diff(want, <-asked); diff != "" {
			t.Error(diff)
		}
	}
}

func TestAgentsErrorHasItsCode(t *testing.T) {
	c := fakeAgent(t, says(AgentReply{Version: AgentVersion, Error: types.NewError(7, "networks[0]: wrong", "")}))
	_, err := c.Lookup(t.Context(), Lookup{})
	if cnierror.Code(err) != 7 || err.Error() != "networks[0]: wrong" || errors.Is(err, ErrNoAgent) {
		t.Error(cnierror.Code(err), err)
	}
}

// tryAgain fails the test unless err is the kind that a runtime repeats.
func tryAgain(t *testing.T, err, kind error, words ...string) {
	t.Helper()
	if cnierror.Code(err) != types.ErrTryAgainLater || !errors.Is(err, kind) {
		t.Fatalf("code %d: %v, wanted is 11 and %v", cnierror.Code(err), err, kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v\nwanted is %s", err, w)
		}
	}
}

func TestNoAgent(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	plain := filepath.Join(dir, "file")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, socket := range []string{dead, plain, filepath.Join(dir, "none"), ""} {
		start := time.Now()
		err := AgentClient{Socket: socket, Timeout: time.Minute}.Ready(t.Context())
		tryAgain(t, err, ErrNoAgent, socket, "DaemonSet")
		// Ten times what is promised: this machine may be busy.
		if took := time.Since(start); took > time.Second {
			t.Errorf("%q: took %v", socket, took)
		}
	}
}

func TestAgentThatDoesNotAnswer(t *testing.T) {
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	c := fakeAgent(t, func(AgentRequest, net.Conn) { <-hang })
	c.Timeout = 20 * time.Millisecond
	tryAgain(t, c.Ready(t.Context()), ErrNoAgent)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.Timeout = time.Minute
	tryAgain(t, c.Ready(ctx), context.Canceled)

	ends := fakeAgent(t, func(AgentRequest, net.Conn) {})
	tryAgain(t, ends.Ready(t.Context()), ErrNoAgent)
	babbles := fakeAgent(t, func(_ AgentRequest, conn net.Conn) { io.WriteString(conn, "hello\n") })
	tryAgain(t, babbles.Ready(t.Context()), ErrNoAgent)
	other := fakeAgent(t, says(AgentReply{Version: AgentVersion}))
	_, err := other.Lookup(t.Context(), Lookup{})
	tryAgain(t, err, ErrNoAgent)
	_, err = other.Publish(t.Context(), Publish{})
	tryAgain(t, err, ErrNoAgent)
}

func TestAgentVersions(t *testing.T) {
	for _, theirs := range []int{AgentVersion - 1, AgentVersion, AgentVersion + 1} {
		if err := fakeAgent(t, says(AgentReply{Version: theirs})).Ready(t.Context()); err != nil {
			t.Errorf("version %d: %v", theirs, err)
		}
	}
	newer := AgentReply{Version: AgentVersion + 2, Error: types.NewError(1, "in a way of its own", "")}
	err := fakeAgent(t, says(newer)).Ready(t.Context())
	tryAgain(t, err, ErrAgentVersion, "multibond speaks version 1 to its agent, which speaks 3", "update the plugin")
	tryAgain(t, CheckAgentVersion(5, 3), ErrAgentVersion, "update the agent")
}

func TestAgentMessageHasALimit(t *testing.T) {
	long := `{"version":1,"lookup":{"ifName":"` + strings.Repeat("x", maxAgentMessage)
	err := ReadAgentMessage(strings.NewReader(long), &AgentRequest{})
	if err == nil || !strings.Contains(err.Error(), "more than 8388608 bytes") {
		t.Error(err)
	}
	if err := ReadAgentMessage(strings.NewReader(`{"version":1`), &AgentRequest{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

// FuzzAgentMessage: what a plugin sends can be handed on as it was read.
func FuzzAgentMessage(f *testing.F) {
	f.Add([]byte(`{"version":1,"lookup":{"pod":{"namespace":"demo","name":"p","uid":"u"}}}`))
	f.Add([]byte(`{"version":1,"publish":{"verb":"ADD","attachments":[{"result":null}],"steps":[{}]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var r, again AgentRequest
		if ReadAgentMessage(bytes.NewReader(raw), &r) != nil {
			return
		}
		var out bytes.Buffer
		if err := WriteAgentMessage(&out, r); err != nil {
			return // a result whose own encoder refuses it
		}
		if err := ReadAgentMessage(&out, &again); err != nil {
			t.Error(err)
		}
	})
}

// FuzzAgentReply: whatever an agent answers, what is planned of it has names that
// are names, and a size that its answer bounds.
func FuzzAgentReply(f *testing.F) {
	f.Add([]byte(`{"version":1,"lookup":{"attachments":[{"name":"demo/a","ifName":"net1","devices":["0000:3b:02.0"],"config":{"type":"macvlan","name":"a"}}]}}`))
	f.Add([]byte(`{"lookup":{"attachments":[{"ifName":"bond0","bond":true,"config":{"name":"b","links":[{"deviceID":"0000:3b:02.0"},{"config":{"type":"macvlan"}}],"delegate":{"type":"sriov","vlan":7}}},{"ifName":"net2","config":{"name":"c","plugins":[{"type":"x"},{"type":"y"}]}}]}}`))
	f.Add([]byte(`{"lookup":{"attachments":[{"default":true,"ifName":"eth0","config":{"name":"c","type":"x"},"deviceInfoFile":"/a/../b","deviceInfo":{},"defaultRoute":[]}]}}`))
	f.Add([]byte(`{"lookup":{"attachments":null},"error":{"code":7}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var reply AgentReply
		if ReadAgentMessage(bytes.NewReader(raw), &reply) != nil || reply.Lookup == nil {
			return
		}
		c := ClusterConfig{Name: "multibond", Inline: json.RawMessage(`{"name": "cbr0", "type": "bridge"}`), RuntimeConfig: json.RawMessage(`{"bandwidth": {}}`)}
		rs, err := c.requests(Request{ContainerID: "c1", IfName: "eth0", Netns: pod1}, *reply.Lookup)
		boundedError(t, raw, err)
		if err != nil {
			if code := cnierror.Code(err); code != types.ErrDecodingFailure && code != types.ErrInvalidNetworkConfig {
				t.Errorf("code %d: %v", code, err)
			}
			return
		}
		planned := 0
		for _, r := range rs {
			if bond.CheckName(r.IfName) != nil || r.Network.Device != "" && bond.CheckPCI(r.Network.Device) != nil || strings.Contains(r.DeviceInfoFile, "..") {
				t.Errorf("%q, %q, %q", r.IfName, r.Network.Device, r.DeviceInfoFile)
			}
			for _, plugin := range r.Network.pluginTypes() {
				if filepath.Base(plugin) != plugin || strings.HasPrefix(plugin, "-") {
					t.Errorf("plugin %q", plugin)
				}
			}
			if plan, _, err := Compile(r, arbitraryFacts(r.Network, 255)); err == nil {
				planned += len(strictjson.Encode(plan))
			}
		}
		// Each plugin of a list has its name and version; < is six bytes in JSON.
		if most := (len(rs)+1)<<12 + 10*MaxPlugins*len(raw); planned > most {
			t.Errorf("%d bytes are planned of %d", planned, len(raw))
		}
	})
}

// boundedError wants of what is said about an input that it is not much longer,
// and that each problem says where it is.
func boundedError(t *testing.T, input []byte, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if most := 40_000 + 20*len(input); len(err.Error()) > most {
		t.Errorf("%d bytes are said about %d", len(err.Error()), len(input))
	}
	var problem bond.Problem
	if errors.As(err, &problem) && problem.Text == "" {
		t.Errorf("a problem says nothing: %v", err)
	}
}

// FuzzParseCNIArgs: a pod is named whole or not at all.
func FuzzParseCNIArgs(f *testing.F) {
	for _, args := range []string{"", ";", "=;=", "IgnoreUnknown=1;K8S_POD_NAMESPACE=demo;K8S_POD_NAME=p;K8S_POD_UID=u", "K8S_POD_NAME=../x;K8S_POD_NAMESPACE=a\nb"} {
		f.Add(args)
	}
	f.Fuzz(func(t *testing.T, args string) {
		got, err := ParseCNIArgs(args)
		if err == nil && ((got.Pod.Name == "") != (got.Pod.Namespace == "") || strings.ContainsAny(got.Pod.Name+got.Pod.Namespace, "/%_ \n\x00")) {
			t.Errorf("%q: %+v", args, got)
		}
	})
}

func TestParseCNIArgs(t *testing.T) {
	pod := Pod{"demo", "p", "u"}
	for args, want := range map[string]PodArgs{
		"":                {},
		"IgnoreUnknown=1": {},
		"IgnoreUnknown=1;K8S_POD_NAMESPACE=demo;K8S_POD_NAME=p;K8S_POD_INFRA_CONTAINER_ID=c;K8S_POD_UID=u": {pod, "c"},
		"K8S_POD_UID=u;K8S_POD_NAME=p;K8S_POD_NAMESPACE=demo;WHAT_ELSE=a=b;":                               {Pod: pod},
	} {
		if got, err := ParseCNIArgs(args); err != nil || got != want {
			t.Errorf("%q: %+v, %v", args, got, err)
		}
	}
	long := strings.Repeat("a", 64)
	for _, args := range []string{"K8S_POD_NAME", "K8S_POD_NAME=p", "K8S_POD_NAMESPACE=demo;K8S_POD_UID=u",
		"K8S_POD_NAMESPACE=../demo;K8S_POD_NAME=p", "K8S_POD_NAMESPACE=demo;K8S_POD_NAME=P", "K8S_POD_NAMESPACE=" + long + ";K8S_POD_NAME=p"} {
		if got, err := ParseCNIArgs(args); cnierror.Code(err) != types.ErrInvalidEnvironmentVariables || got.Pod.Name != "" && err == nil {
			t.Errorf("%q: %+v, %v", args, got, err)
		}
	}
	_, err := ParseCNIArgs("K8S_POD_NAMESPACE=demo;K8S_POD_NAME=a/b")
	wantError(t, err, types.ErrInvalidEnvironmentVariables, `CNI_ARGS: K8S_POD_NAME is "a/b", wanted are at most 253 small letters, digits, '-' and '.', as Kubernetes has them`)
}
