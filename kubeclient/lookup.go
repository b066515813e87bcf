package kubeclient

import (
	"context"
	"fmt"
	"time"

	cnitypes "github.com/containernetworking/cni/pkg/types"
	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
)

// Lookup returns the networks of a pod, either all of them or an error. The code of
// the error is 4 if there is no such pod, 7 if a configuration is invalid, 11 if the
// API server or the kubelet could not be reached, and 100 if the pod has too few
// devices.
func (a *Agent) Lookup(ctx context.Context, l agentapi.Lookup) (agentapi.LookupReply, error) {
	start := time.Now()
	reply, err := a.lookup(ctx, l)
	if err != nil && cnierror.Code(err) == cnitypes.ErrInternal {
		err = cnierror.With(cnitypes.ErrInvalidNetworkConfig, err)
	}
	a.metrics.lookedUp(start, err)
	return reply, err
}

func (a *Agent) lookup(ctx context.Context, l agentapi.Lookup) (reply agentapi.LookupReply, err error) {
	pod, err := a.source.pod(ctx, l.Pod)
	if err != nil {
		return reply, err
	}
	networks, err := networksOf(pod, l)
	if err != nil {
		return reply, fmt.Errorf("pod %s: %w", l.Pod, err)
	}
	s := search{Agent: a, ctx: ctx, request: l, pod: pod}
	attachments, err := s.attachments(networks)
	if err == nil {
		err = s.doubt(attachments)
	}
	if err != nil {
		return reply, err
	}
	reply.Pod = agentapi.Pod{Namespace: pod.Namespace, Name: pod.Name, UID: string(pod.UID)}
	reply.Attachments = []agentapi.Attachment{}
	for i, one := range attachments {
		out := s.attachment(one)
		if out.HostIndex, err = s.hostIndex(one); err != nil {
			return reply, fmt.Errorf("network %s: %w", out.Name, err)
		}
		out.Default = networks.hasDefault && i == 0 && !l.Secondary
		reply.Attachments = append(reply.Attachments, out)
	}
	reply.Warnings = s.warnings
	return reply, nil
}

// search is one lookup in progress.
type search struct {
	*Agent
	ctx      context.Context
	request  agentapi.Lookup
	pod      *corev1.Pod
	warnings []string
}

// attachments resolves all networks of the pod, or the one that another meta plugin asks
// for.
func (s *search) attachments(n podNetworks) ([]Attachment, error) {
	pod := types.NamespacedName{Namespace: s.pod.Namespace, Name: s.pod.Name}
	resolver, err := s.resolver()
	if err != nil {
		return nil, err
	}
	if !s.request.Secondary {
		return Attachments(pod, n.elements, resolver, s.node())
	}
	one, err := Beside(pod, n, s.request.IfName, resolver, s.node())
	return []Attachment{one}, err
}

// doubt warns of what Multus accepts and is likely a mistake. It returns an error instead
// if the cluster's configuration asks for that.
func (s *search) doubt(attachments []Attachment) error {
	var all bond.Problems
	for _, a := range attachments {
		all = append(all, a.Doubts...)
	}
	if s.request.Cluster.Strict {
		return cnierror.With(cnitypes.ErrInvalidNetworkConfig, all.Err())
	}
	s.warnings = append(s.warnings, all.Texts("")...)
	return nil
}

func (s *search) resolver() (Resolver, error) {
	r := Resolver{
		Isolated: s.request.Cluster.Isolated,
		Global:   s.request.Cluster.Global,
		NAD: func(name types.NamespacedName) (*nettypes.NetworkAttachmentDefinition, error) {
			return s.source.nad(s.ctx, name)
		},
		ConfDirs: s.machine.confDirs(s.request.Cluster.ConfDir),
	}
	if !s.request.Secondary {
		return r, nil
	}
	var err error
	r.LinksOnly = true
	if r.Isolated, r.Global, err = multusIsolation(s.machine.ConfDir); err != nil {
		return r, fmt.Errorf("the configuration of the meta plugin that calls multibond: %w", err)
	}
	return r, nil
}

func (s *search) node() Node {
	return Node{
		Containers: s.containers,
		Sys:        s.machine.Sys,
		PF:         s.machine.pf,
		InfoFile:   func(e Element) string { return s.machine.infoFile(s.request.ContainerID, e) },
	}
}

func (s *search) containers() ([]Container, error) {
	claims, err := s.claimsOf(s.ctx, s.pod)
	if err != nil {
		s.warnings = append(s.warnings, err.Error())
	}
	containers, how, err := s.kubelet.Containers(s.ctx, s.pod, claims)
	if err != nil {
		return nil, err
	}
	s.metrics.answers.WithLabelValues(how).Inc()
	if len(claims.Claims) > 0 {
		containers = append(containers, FromClaims(claims))
	}
	return containers, nil
}

// hostIndex returns the number of this host for a network, or nil if it needs none.
func (s *search) hostIndex(a Attachment) (*int, error) {
	if a.Hosts == 0 {
		return nil, nil
	}
	index, err := s.hosts.index(s.ctx, a.Hosts)
	return &index, err
}

func (s *search) attachment(a Attachment) agentapi.Attachment {
	out := agentapi.Attachment{
		Name: a.Network.label(), IfName: a.Element.Interface, Config: a.Config, Bond: a.Bond,
		Devices: a.Devices, DefaultRoute: a.Element.DefaultRoute, Args: a.Args, Near: a.Near,
	}
	if !out.Bond {
		out.DeviceInfoFile = s.machine.infoFile(s.request.ContainerID, a.Element)
		if len(a.Devices) > 0 {
			out.DeviceInfo = s.machine.deviceInfo(a.Network.Resource, a.Devices[0])
		}
	}
	return out
}
