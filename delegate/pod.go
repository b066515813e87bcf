package delegate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/invoke"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/netconf/confdir"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

// How long the agent may take. It usually answers a lookup from memory. Otherwise it
// asks the kubelet and the API server, within time limits of its own. If it cannot
// publish at once it keeps trying.
const (
	lookupTimeout  = 30 * time.Second
	publishTimeout = 10 * time.Second
	// An agent that was replaced during an ADD is back within this time.
	publishWindow = 30 * time.Second
	publishPause  = 200 * time.Millisecond
)

// AddPod attaches all networks of a pod by the cluster's configuration: the default
// network and those that the agent names, in order. If one fails it leaves nothing
// behind. The result is that of the default network. r has everything but the networks.
func (h *Host) AddPod(ctx context.Context, c netconf.Cluster, r plan.Request) (result *current.Result, warnings []string, err error) {
	began := time.Now()
	pod, err := agentapi.ParseCNIArgs(r.Args)
	if err != nil {
		return nil, nil, err
	}
	out := outcome{warnings: c.Warnings.Texts("network " + c.Name + ": ")}
	l := agentapi.Lookup{ContainerID: r.ContainerID, Netns: r.Netns, IfName: r.IfName, Pod: pod, Cluster: c.Cluster}
	reply, steps, err := h.lookup(ctx, agentapi.Client{Socket: c.Agent, Timeout: lookupTimeout}, l, &out)
	var recs []*record.Record
	if err == nil {
		var rs []plan.Request
		if rs, err = h.requestsOf(c, r, reply); err == nil {
			rs[0].Steps = steps
			recs, err = h.addAll(ctx, rs, &out)
		}
	}
	report := agentapi.Publish{Verb: "ADD", Pod: reply.Pod, Warnings: warningsOf(reply, recs)}
	if recs == nil {
		report.Steps = steps
	}
	if err == nil {
		err = h.publish(ctx, c.Agent, report, recs, began, &out)
	}
	if err != nil {
		if report.Pod == (agentapi.Pod{}) {
			report.Pod = pod
		}
		h.tellFailure(ctx, c.Agent, report, began, err, &out)
		return nil, out.warnings, err
	}
	result, err = invoke.DecodeResult(recs[0].Result)
	return result, out.warnings, err
}

// AddSecondary attaches one bond network whose devices only the agent knows. Another
// meta plugin has called us, and publishes the result itself.
func (h *Host) AddSecondary(ctx context.Context, r plan.Request) (result *current.Result, warnings []string, err error) {
	began := time.Now()
	pod, err := agentapi.ParseCNIArgs(r.Args)
	if err != nil {
		return nil, nil, err
	}
	if pod == (agentapi.Pod{}) {
		return h.Add(ctx, r) // whose error says what is missing
	}
	var out outcome
	socket := r.Network.Agent
	l := agentapi.Lookup{ContainerID: r.ContainerID, Netns: r.Netns, IfName: r.IfName, Pod: pod, Secondary: true}
	reply, steps, err := h.lookup(ctx, agentapi.Client{Socket: socket, Timeout: lookupTimeout}, l, &out)
	var recs []*record.Record
	if err == nil {
		r.Steps = steps
		recs, err = h.addOne(ctx, socket, r, reply, &out)
	}
	report := agentapi.Publish{Verb: "ADD", Pod: pod, Warnings: warningsOf(reply, recs)}
	if err != nil {
		report.Steps = steps
		h.tellFailure(ctx, socket, report, began, err, &out)
		return nil, out.warnings, err
	}
	report.Bonds = watched(recs)
	report.Steps = append(allSteps(report, recs), agentapi.Since("total", began))
	h.tell(ctx, socket, report, &out)
	result, err = invoke.DecodeResult(recs[0].Result)
	return result, out.warnings, err
}

// warningsOf lists all warnings about the networks of a pod.
func warningsOf(reply agentapi.LookupReply, recs []*record.Record) []string {
	warnings := slices.Clone(reply.Warnings)
	for _, rec := range recs {
		warnings = append(warnings, rec.Warnings...)
	}
	return warnings
}

func (h *Host) addOne(ctx context.Context, socket string, r plan.Request, reply agentapi.LookupReply, o *outcome) ([]*record.Record, error) {
	if len(reply.Attachments) != 1 || !reply.Attachments[0].Bond {
		return nil, cnierror.Errorf(types.ErrInvalidNetworkConfig, "network %s: pod %s requests another network as interface %s", r.Network.Name, reply.Pod, r.IfName)
	}
	one, err := requestFor(reply.Attachments[0], r, nil)
	if err != nil {
		return nil, err
	}
	one.Network.After = nil // the caller executes them
	one.Group = plan.Group{Network: r.Network.Name, IfNames: []string{r.IfName}, Agent: socket, Pod: reply.Pod}
	return h.addAll(ctx, []plan.Request{one}, o)
}

// DelPod restores what the Records of a container know, and tells the agent how long it
// took, or why it failed. It is no error if there is no agent. If there is no Record, the
// container may be older than this plugin's installation: DelPod executes DEL of the
// default network's plugins, releases what bond-cni attached, and reclaims the VFs that
// are known to be ours. With the cluster's configuration it does so until it is certain
// that nothing is left.
func (h *Host) DelPod(ctx context.Context, c netconf.Cluster, r plan.Request) (warnings []string, err error) {
	began := time.Now()
	rec, out, err := h.del(ctx, r.Key())
	switch {
	case rec != nil || err != nil:
	case r.Network.IsBondCNI():
		err = h.delBondCNI(ctx, r, &out)
	case c.Name == "":
		err = h.reclaim(ctx, r, r.IfName, &out)
	case !h.Store.Tombstones(h.BootID).Has(r.Key()):
		h.endOrphans(ctx, r.ContainerID, &out)
		err = h.reclaim(ctx, r, "", &out)
		h.delUnknown(ctx, c, r, &out)
		// Without a namespace it is not known what is left in it.
		if err == nil && !out.doubtful && r.Netns != "" {
			h.Store.Tombstones(h.BootID).Put(r.Key())
		}
	}
	h.tellDel(ctx, rec, began, err, &out)
	h.retryForgotten(ctx, r.ContainerID, nil, &out)
	return out.warnings, err
}

// delUnknown executes DEL of the default network's plugins for a container without a
// Record. It is no error if they refuse.
func (h *Host) delUnknown(ctx context.Context, c netconf.Cluster, r plan.Request, o *outcome) {
	raw, err := confdir.DefaultNetwork(c)
	var n netconf.Network
	if err == nil && raw != nil {
		n, err = netconf.ParseChain(confdir.WithoutRepeated(raw, os.DirFS(c.ConfDir)))
	}
	if err != nil {
		o.leave("%v", err)
		return
	}
	s, err := h.enterOrLeave(r.Netns, o)
	if err != nil {
		o.leave("%v", err)
		return
	}
	defer s.close()
	for i, p := range slices.Backward(n.Chain) {
		_, err := h.execute(ctx, invoke.Call{
			Command: "DEL", ContainerID: r.ContainerID, Netns: s.netns, IfName: r.IfName, Args: r.Args,
			Type: p.Type, Config: p.Config.Raw, Timeout: shareOf(ctx, i+1),
		})
		if err != nil {
			o.leave("network %s: %v", n.Name, err)
		}
	}
}

// tellDel reports a DEL to the agent, with what was given up, if the Record names one.
func (h *Host) tellDel(ctx context.Context, rec *record.Record, began time.Time, err error, o *outcome) {
	if rec == nil || rec.Plan.Group.Agent == "" || rec.Plan.Group.Pod == (agentapi.Pod{}) {
		return
	}
	report := agentapi.Publish{Verb: "DEL", Pod: rec.Plan.Group.Pod, Warnings: o.givenUp, Steps: []agentapi.Step{agentapi.Since("total", began)}}
	if err != nil {
		h.tellFailure(ctx, rec.Plan.Group.Agent, report, began, err, o)
		return
	}
	if err := (agentapi.Client{Socket: rec.Plan.Group.Agent}).Post(report); err != nil {
		o.warn("pod %s: %v", report.Pod, err)
	}
}

// StatusPod returns why an ADD would fail now, as one error with the code 50. It
// executes no plugin and asks nobody. An agent that is away is no reason: runtimes make
// the node NotReady by a failed STATUS, and an ADD answers that it is to be tried again.
func (h *Host) StatusPod(c netconf.Cluster) error {
	raw, err := confdir.DefaultNetwork(c)
	if err == nil {
		err = confdir.CheckReady(c)
	}
	if err == nil && raw != nil {
		err = h.findPlugins(raw)
	}
	if own := writable(h.Store.Dir); own != nil {
		err = errors.Join(err, fmt.Errorf("state directory: %w", own))
	}
	return cnierror.With(types.ErrPluginNotAvailable, err)
}

func (h *Host) findPlugins(raw json.RawMessage) error {
	n, err := netconf.ParseChain(raw)
	if err != nil {
		return err
	}
	var errs []error
	for _, plugin := range n.PluginTypes() {
		_, err := h.Runner.Find(plugin, h.Path)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// lookup asks the agent for a pod's networks. Without a pod it asks nobody.
func (h *Host) lookup(ctx context.Context, agent agentapi.Client, l agentapi.Lookup, o *outcome) (agentapi.LookupReply, []agentapi.Step, error) {
	if l.Pod == (agentapi.Pod{}) {
		return agentapi.LookupReply{}, nil, nil
	}
	began := time.Now()
	reply, err := agent.Lookup(ctx, l)
	for _, w := range reply.Warnings {
		o.warn("pod %s: %s", l.Pod, w)
	}
	return reply, []agentapi.Step{agentapi.Since("lookup", began)}, err
}

// requestsOf makes a request for each network of a pod, the default network first.
func (h *Host) requestsOf(c netconf.Cluster, r plan.Request, reply agentapi.LookupReply) ([]plan.Request, error) {
	if err := confdir.CheckReady(c); err != nil {
		return nil, err
	}
	attachments := slices.Clone(reply.Attachments)
	if len(attachments) == 0 || !attachments[0].Default {
		raw, err := confdir.DefaultNetwork(c)
		if err != nil {
			return nil, err
		}
		if raw == nil {
			return nil, cnierror.Errorf(types.ErrInvalidNetworkConfig, "network %s: clusterNetwork is %s, a NAD, which cannot be looked up without a pod (CNI_ARGS)", c.Name, c.Cluster.Network)
		}
		attachments = slices.Insert(attachments, 0, agentapi.Attachment{IfName: r.IfName, Config: raw, Default: true})
	}
	if own := attachments[0].IfName; own != r.IfName {
		// The runtime's DEL would not find its Record.
		return nil, cnierror.Errorf(types.ErrInvalidNetworkConfig, "network %s: the agent names the default network's interface %.200q, want %s (CNI_IFNAME)", attachments[0].Name, own, r.IfName)
	}
	attachments[0].Config = confdir.WithoutRepeated(attachments[0].Config, os.DirFS(c.ConfDir))
	group := plan.Group{Network: c.Name, Agent: c.Agent, Pod: reply.Pod}
	var rs []plan.Request
	var errs []error
	for i, a := range attachments {
		var runtime map[string]json.RawMessage
		if i == 0 {
			runtime = c.RuntimeConfig
		}
		one, err := requestFor(a, r, runtime)
		if i == 0 && one.Network.Attach == netconf.AttachEach {
			err = cnierror.Errorf(types.ErrInvalidNetworkConfig, "network %s: attach: is each, but it is the pod's default network, whose interface %s the runtime looks for (use a network with one interface, and name this one in the annotations of pods)", one.Network.Name, r.IfName)
		}
		errs = append(errs, err, h.checkDeviceInfo(one))
		rs = append(rs, one)
	}
	for _, one := range plan.InOrder(rs, plan.Order(rs)) {
		group.IfNames = append(group.IfNames, one.IfName)
	}
	for i := range rs {
		rs[i].Group = group
	}
	return rs, errors.Join(errs...)
}

// requestFor is the request for one network of a pod. runtime is as in
// netconf.ParseAttachment.
func requestFor(a agentapi.Attachment, r plan.Request, runtime map[string]json.RawMessage) (plan.Request, error) {
	r.Args = strings.Trim(r.Args+";"+a.Args, ";")
	r.Near, r.HostIndex = a.Near, a.HostIndex
	r.IfName, r.DefaultRoute, r.DeviceInfo, r.DeviceInfoFile = a.IfName, a.DefaultRoute, a.DeviceInfo, a.DeviceInfoFile
	// The Record's file has the interface's name.
	err := bond.CheckName(a.IfName)
	if err != nil {
		return r, cnierror.Errorf(types.ErrInvalidNetworkConfig, "network %s: its interface %w", a.Name, err)
	}
	r.Network, err = netconf.ParseAttachment(a, runtime)
	return r, err
}

// checkDeviceInfo checks the device-info file that an agent names, because it is removed
// with root's rights. It must be this interface's own file in the one directory, as the
// Device Information Specification names it: NETWORK-CONTAINER_INTERFACE.
func (h *Host) checkDeviceInfo(r plan.Request) error {
	f := r.DeviceInfoFile
	own := "-" + r.ContainerID + "_" + r.IfName
	if f == "" || filepath.Clean(f) == f && filepath.Dir(f) == h.DeviceInfo && strings.HasSuffix(f, own) {
		return nil
	}
	return cnierror.Errorf(types.ErrInvalidNetworkConfig, "network %s: the agent names the device-info file %.200q, want %s (leave the agent's -device-info-dir as it is)",
		r.Network.Name, f, filepath.Join(h.DeviceInfo, "NETWORK"+own))
}

// publish tells the agent the networks of a pod before the ADD is over: otherwise a
// cleaner of addresses that no status has could take them away. If the agent is away for
// longer than a restart takes, everything is undone.
func (h *Host) publish(ctx context.Context, socket string, report agentapi.Publish, recs []*record.Record, began time.Time, o *outcome) error {
	if report.Pod == (agentapi.Pod{}) {
		return nil
	}
	for _, rec := range recs {
		one, err := podResult(rec)
		if err != nil {
			return err
		}
		report.Attachments = append(report.Attachments, one)
	}
	report.Bonds = watched(recs)
	report.Steps = append(allSteps(report, recs), agentapi.Since("total", began))
	blind, err := h.publishOnce(ctx, socket, report)
	for deadline := time.Now().Add(publishWindow); errors.Is(err, agentapi.ErrNoAgent) && time.Now().Before(deadline) && ctx.Err() == nil; {
		time.Sleep(publishPause)
		blind, err = h.publishOnce(ctx, socket, report)
	}
	if blind {
		warnBlind(h.giveEyes(ctx, socket), o)
	}
	if err == nil {
		return nil
	}
	err = cnierror.With(cnierror.Code(err), fmt.Errorf("publishing the networks of pod %s: %w", report.Pod, err))
	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.WayBack)
	defer cancel()
	_, undone, failed := h.del(back, recs[0].Plan.Key())
	o.join(undone)
	return notUndone(err, failed)
}

func (h *Host) publishOnce(ctx context.Context, socket string, report agentapi.Publish) (blind bool, err error) {
	reply, err := agentapi.Client{Socket: socket, Timeout: publishTimeout}.Publish(ctx, report)
	return reply.Blind, err
}

// allSteps lists the steps of a report and of all its attachments.
func allSteps(p agentapi.Publish, recs []*record.Record) []agentapi.Step {
	steps := slices.Clone(p.Steps)
	for _, rec := range recs {
		steps = append(steps, rec.Steps...)
	}
	return steps
}

func podResult(rec *record.Record) (agentapi.Result, error) {
	info := rec.DeviceInfo
	if info == nil {
		info = rec.Plan.DeviceInfo
	}
	result, err := invoke.DecodeResult(rec.Result)
	return agentapi.Result{
		Name: rec.Plan.Network, IfName: rec.Plan.IfName, Bond: rec.Plan.IsBond(), Each: rec.Plan.IsEach(), Result: result,
		DefaultRoute: rec.Plan.DefaultRoute, DeviceInfo: info,
	}, err
}

// tellFailure has the agent report on the pod why it has no networks. It does nothing
// if there is no agent, or if nobody knows the pod's UID.
func (h *Host) tellFailure(ctx context.Context, socket string, report agentapi.Publish, began time.Time, failure error, o *outcome) {
	if report.Pod.UID == "" || errors.Is(failure, agentapi.ErrNoAgent) {
		return
	}
	report.Failure = types.NewError(cnierror.Code(failure), code.Text(failure), "")
	report.Steps = append(report.Steps, agentapi.Since("total", began))
	h.tell(ctx, socket, report, o)
}

// tell sends a report that nothing depends on. It warns if that fails.
func (h *Host) tell(ctx context.Context, socket string, report agentapi.Publish, o *outcome) {
	const patience = 2 * time.Second
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	blind, err := h.publishOnce(limit, socket, report)
	if err != nil {
		o.warn("pod %s: %v", report.Pod, err)
	}
	if blind {
		warnBlind(h.giveEyes(limit, socket), o)
	}
}
