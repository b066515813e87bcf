package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/multibond/multibond/kubeclient"
)

// drillReport is what drill prints: what multibond drill has found, and where.
type drillReport struct {
	header
	Namespace string     `json:"namespace"`
	Pod       string     `json:"pod"`
	Node      string     `json:"node"`
	Drill     drillFound `json:"drill"`
}

// drillFound is what multibond drill prints in JSON, without what is in drillReport.
type drillFound struct {
	Bond    string      `json:"bond"`
	Network string      `json:"network"`
	Mode    string      `json:"mode"`
	Monitor string      `json:"monitor"`
	Link    string      `json:"link"`
	Target  string      `json:"target"`
	Allowed float64     `json:"allowedMilliseconds"`
	Parts   []drillPart `json:"parts"`

	Problems []string `json:"problems"`
}

type drillPart struct {
	Part       string   `json:"part"`
	Active     string   `json:"active,omitempty"`
	Noticed    *float64 `json:"noticedMilliseconds,omitempty"`
	Sent       int      `json:"sent"`
	Lost       int      `json:"lost"`
	LongestGap float64  `json:"longestGapMilliseconds"`
	Announced  int      `json:"announced"`
}

// drill is what a drill needs to know.
type drill struct {
	scope
	bond, target string
	lasts        time.Duration
	yes          bool
}

func newDrill(e *env) *cobra.Command {
	d := drill{}
	c := &cobra.Command{
		Use:   "drill POD",
		Short: "Have a pod's bond fail over, and measure what is lost",
		Long: `Set down, in the pod, the link that carries the traffic of its bond, and set it up again.
Meanwhile an address is asked for answers. A pod of its own does it on the node of the pod,
in the agents' namespace, and is deleted afterwards: you need the right to create and delete
pods there, with SYS_ADMIN and NET_ADMIN. It refuses if no other link works. The link is set
up again also if this program is killed.`,
		Args:              onePod,
		ValidArgsFunction: e.completePods,
		RunE: func(c *cobra.Command, args []string) error {
			if err := e.within(&d.scope, false); err != nil {
				return err
			}
			if d.lasts < time.Second || d.lasts > time.Minute {
				return fmt.Errorf("--for is %s, want 1s to 1m", d.lasts)
			}
			return e.drill(c.Context(), d, args[0])
		},
	}
	c.Flags().StringVar(&d.bond, "bond", "", "The `bond` (default: the pod's only one)")
	c.Flags().StringVar(&d.target, "target", "", "The `address` that is asked (default: the gateway that IPAM has named)")
	c.Flags().DurationVar(&d.lasts, "for", 5*time.Second, "How long the link is down")
	c.Flags().BoolVarP(&d.yes, "yes", "y", false, "Do not ask")
	e.scopeFlags(c, &d.scope, nil)
	return c
}

func (e *env) drill(ctx context.Context, d drill, name string) error {
	core, _, err := e.clients()
	if err != nil {
		return err
	}
	v, image, err := e.drillable(ctx, core, d, name)
	if err != nil {
		return err
	}
	if err := e.ask(d.yes, fmt.Sprintf("The link of %s in %s/%s (node %s) that carries its traffic is set down for %s.", v.Bond, v.Namespace, v.Pod, v.Node, d.lasts)); err != nil {
		return err
	}
	text, err := e.runOnNode(ctx, core, drillPod(d, v, image))
	if err != nil {
		return err
	}
	r := drillReport{header: headerOf("Drill"), Namespace: v.Namespace, Pod: v.Pod, Node: v.Node}
	_, found, is := strings.Cut(text, "{\n") // warnings come before
	if err := json.Unmarshal([]byte("{\n"+found), &r.Drill); !is || err != nil {
		return errors.New(cmp.Or(strings.TrimSpace(text), "the drill has printed nothing"))
	}
	if err := e.print(r, func(out *page) { printDrill(out, r) }); err != nil {
		return err
	}
	if n := len(r.Drill.Problems); n > 0 {
		return wrong(count(n, "problem"))
	}
	return nil
}

// drillable returns the bond that is meant, and the image of the agents.
func (e *env) drillable(ctx context.Context, core *coreclient.CoreV1Client, d drill, name string) (v bondView, image string, err error) {
	pod, err := core.Pods(d.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return v, "", lookedIn(d.namespace, err)
	}
	p := e.newPicture()
	p.take([]corev1.Pod{*pod})
	p.lookAtAgents(ctx, core, d.agents)
	found := slices.DeleteFunc(p.bonds(), func(v bondView) bool { return d.bond != "" && v.Bond != d.bond })
	if len(found) != 1 {
		return v, "", fmt.Errorf("pod %s/%s has %s%s, want one (--bond names it)", pod.Namespace, pod.Name, count(len(found), "bond"), strings.TrimRight(" "+d.bond, " "))
	}
	v = found[0]
	if v.State != kubeclient.BondUp {
		return v, "", fmt.Errorf("%s of %s/%s is %s: mend it before you try a failover", v.Bond, v.Namespace, v.Pod, v.State)
	}
	for i := range p.agents {
		if a := &p.agents[i]; a.Spec.NodeName == v.Node {
			for _, c := range a.Spec.Containers {
				if c.Name == "agent" {
					image = c.Image
				}
			}
		}
	}
	if image == "" {
		return v, "", fmt.Errorf("node %s: no agent is seen there, whose image the drill needs", v.Node)
	}
	return v, image, nil
}

// ask asks whether to go on. Without a terminal nobody can answer.
func (e *env) ask(yes bool, what string) error {
	if yes {
		return nil
	}
	if !isTerminal(e.In) {
		return fmt.Errorf("%s Confirm it by -y", what)
	}
	fmt.Fprint(e.ErrOut, what, " Go on? [y/N] ")
	answer, err := bufio.NewReader(e.In).ReadString('\n')
	if err == nil && !slices.Contains([]string{"y", "yes"}, strings.ToLower(strings.TrimSpace(answer))) {
		err = errors.New("nothing was done")
	}
	return err
}

const drillLabel = "multibond-drill"

// drillPod is the pod that does a drill: it has the node's Records, and the namespaces of its
// pods.
func drillPod(d drill, v bondView, image string) *corev1.Pod {
	args := []string{"-pod", v.Namespace + "/" + v.Pod, "-ifname", v.Bond, "-for", d.lasts.String(), "-o", "json"}
	if d.target != "" {
		args = append(args, "-target", d.target)
	}
	propagate, limit := corev1.MountPropagationHostToContainer, int64((d.lasts+2*time.Minute)/time.Second)
	host := func(name, path string) corev1.Volume {
		return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path, Type: new(corev1.HostPathDirectory)}}}
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: d.agents, Name: drillLabel + "-" + strings.ReplaceAll(v.Node, ".", "-"), Labels: map[string]string{"app": drillLabel, "app.kubernetes.io/name": "multibond"}},
		Spec: corev1.PodSpec{
			NodeName: v.Node, PriorityClassName: "system-node-critical", HostNetwork: true, DNSPolicy: corev1.DNSDefault, RestartPolicy: corev1.RestartPolicyNever,
			ActiveDeadlineSeconds: &limit, TerminationGracePeriodSeconds: new(int64(30)), // to set the link up
			AutomountServiceAccountToken: new(false), Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			SecurityContext: &corev1.PodSecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Type: "spc_t"}},
			Containers: []corev1.Container{{
				Name: "drill", Image: image, ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"/multibond", "drill"}, Args: args,
				SecurityContext: &corev1.SecurityContext{
					RunAsUser: new(int64(0)), ReadOnlyRootFilesystem: new(true), AllowPrivilegeEscalation: new(false),
					Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_ADMIN", "NET_RAW", "SYS_ADMIN"}},
				},
				VolumeMounts: []corev1.VolumeMount{
					{Name: "state", MountPath: "/var/lib/cni/multibond"}, {Name: "sys", MountPath: "/sys", ReadOnly: true},
					{Name: "netns", MountPath: "/run/netns", ReadOnly: true, MountPropagation: &propagate},
					{Name: "netns", MountPath: "/var/run/netns", ReadOnly: true, MountPropagation: &propagate},
				},
			}},
			Volumes: []corev1.Volume{host("state", "/var/lib/cni/multibond"), host("sys", "/sys"), host("netns", "/run/netns")},
		},
	}
}

// runOnNode runs a pod until it ends, deletes it, and returns what it has printed. It does not
// end a pod that is at work: if the user gives up, the pod still undoes what it has done.
func (e *env) runOnNode(ctx context.Context, core *coreclient.CoreV1Client, pod *corev1.Pod) (text string, err error) {
	pods := core.Pods(pod.Namespace)
	if old, err := pods.Get(ctx, pod.Name, metav1.GetOptions{}); err == nil && hasEnded(old) {
		_ = pods.Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &old.UID}, GracePeriodSeconds: new(int64(0))})
	}
	if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return "", err
	}
	defer e.progress("")
	for !hasEnded(pod) {
		e.progress("pod %s/%s on node %s: %s", pod.Namespace, pod.Name, pod.Spec.NodeName, cmp.Or(string(pod.Status.Phase), "created"))
		select {
		case <-time.After(e.every):
		case <-ctx.Done():
			return "", fmt.Errorf("%w: pod %s/%s ends by itself and sets the link up again; delete it then", context.Cause(ctx), pod.Namespace, pod.Name)
		}
		if pod, err = pods.Get(ctx, pod.Name, metav1.GetOptions{}); err != nil {
			return "", err
		}
	}
	raw, err := pods.GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(ctx)
	return string(raw), errors.Join(err, pods.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}))
}

func hasEnded(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func printDrill(out *page, r drillReport) {
	d := r.Drill
	out.line("%s of %s/%s on node %s, network %s: %s, %s", d.Bond, r.Namespace, r.Pod, r.Node, d.Network, d.Mode, d.Monitor)
	out.line("%s was set down and up again; %s was asked meanwhile", d.Link, d.Target)
	rows := [][]string{{"PART", "ACTIVE", "NOTICED", "SENT", "LOST", "LONGEST GAP", "ANNOUNCED"}}
	for _, p := range d.Parts {
		noticed := "-"
		if p.Noticed != nil {
			noticed = fmt.Sprintf("%.0f ms", *p.Noticed)
		}
		rows = append(rows, []string{p.Part, dash(p.Active), noticed, fmt.Sprint(p.Sent), fmt.Sprint(p.Lost), fmt.Sprintf("%.0f ms", p.LongestGap), fmt.Sprint(p.Announced)})
	}
	out.table(rows...)
	for _, problem := range d.Problems {
		out.line("%s   %s", out.paint("error"), problem)
	}
	if len(d.Problems) == 0 {
		out.line("%s      no more was lost than %s allows: %.0f ms per part", out.paint("ok"), d.Monitor, d.Allowed)
	}
}
