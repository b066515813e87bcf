package kubeclient

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/agentapi"
)

// ClaimTemplateAnnotation is the annotation of a NAD that names the ResourceClaimTemplate, of
// the pod's namespace, with the requests that the links of its network name.
const ClaimTemplateAnnotation = "multibond.io/resourceClaimTemplate"

// Needs is what a pod has to request for its networks.
type Needs struct {
	Resources map[string]int    // how many devices of each resource
	Claims    map[string]string // by a claim's name in the pod, the template that it is made from
}

// Needs counts what all networks of a pod want, as [Attachments] does. Networks that cannot be
// seen want nothing. The error has the problems of all networks; what is returned with it is what
// could be counted.
func (j Judge) Needs(pod *corev1.Pod) (Needs, error) {
	out := Needs{Resources: map[string]int{}, Claims: map[string]string{}}
	networks, err := networksOf(pod, agentapi.Lookup{IfName: defaultInterface, Cluster: j.Cluster})
	if err != nil {
		return out, err
	}
	all, err := findAll(networks.elements, j.resolver())
	errs := []error{err}
	for _, f := range all {
		for _, w := range f.need().Wants {
			switch resource := j.seen(f, w.Resource); {
			case w.Request != "":
				errs = append(errs, out.addClaim(pod, f, w.Request, j.annotation(f.network.Name, ClaimTemplateAnnotation)))
			case resourceForm.MatchString(resource):
				out.Resources[resource]++
			}
		}
	}
	return out, join(errs...)
}

// resourceForm matches the name of a resource of devices, unlike that of cpu.
var resourceForm = regexp.MustCompile(`^[a-z0-9.-]+/[A-Za-z0-9._-]+$`)

// seen returns the resource of a network. The NAD of a file of each node can name one.
func (j Judge) seen(f found, resource string) string {
	if resource != unseenResource {
		return resource
	}
	return j.annotation(f.element.Network, ResourceAnnotation)
}

// annotation returns an annotation of a NAD, or "".
func (j Judge) annotation(name types.NamespacedName, key string) string {
	nad, err := j.NAD(name)
	if err != nil {
		return ""
	}
	return nad.Annotations[key]
}

// addClaim notes the claim of a request, "claim/request". If the request names no claim, the
// claim has the template's name. It is an error if two templates would make a claim of one name,
// unless the pod has that claim itself.
func (n *Needs) addClaim(pod *corev1.Pod, f found, request, template string) error {
	if template == "" {
		return nil
	}
	claim, _, named := strings.Cut(request, "/")
	if !named {
		claim = strings.ReplaceAll(template, ".", "-")
	}
	other, there := n.Claims[claim]
	if !there {
		n.Claims[claim] = template
	}
	if !there || other == template || slices.ContainsFunc(pod.Spec.ResourceClaims, func(c corev1.PodResourceClaim) bool { return c.Name == claim }) {
		return nil
	}
	return code.With(code.AmbiguousRequest, fmt.Errorf("%s: network %s: request %s needs claim %s of template %s, and a network before it needs a claim of that name of template %s: write another name before the slash in links", f.element.Path, f.element.Network, request, claim, template, other))
}
