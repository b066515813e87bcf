package written

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/kubeclient"
)

// bondSuffix ends the name of the NAD that takes the place of a NAD of bond-cni. Pods that
// have not been changed need the old one.
const bondSuffix = "-multibond"

// bondCNI is what is read of a configuration of bond-cni. rest has all keys.
type bondCNI struct {
	LinksInContainer bool
	Links            []struct{ Name string }
	rest             map[string]json.RawMessage
}

// bondCNIOf reads the configuration of a NAD. It returns nil if it is none of bond-cni.
func bondCNIOf(n *nad) *bondCNI {
	var b bondCNI
	raw := []byte(n.Spec.Config)
	if json.Unmarshal(raw, &b) != nil || json.Unmarshal(raw, &b.rest) != nil || string(b.rest["type"]) != `"bond"` {
		return nil
	}
	return &b
}

// migrateBonds makes one network of a bond of bond-cni and of the networks that are its links,
// for each pod that has them.
func (s *Set) migrateBonds(m *Migration) {
	needed := map[string]bool{}
	for i := range s.pods {
		for _, e := range s.migratePod(m, &s.pods[i]) {
			needed["NAD "+e.Network.String()] = true
		}
	}
	m.Unused = slices.DeleteFunc(m.Unused, func(what string) bool { return needed[what] })
}

// migratePod returns the networks that the pod still needs.
func (s *Set) migratePod(m *Migration, p *pod) (kept []kubeclient.Element) {
	annotation := p.Annotations[kubeclient.NetworksAnnotation]
	elements, err := kubeclient.ParseNetworks(annotation, p.Namespace, []string{"eth0"})
	if err != nil {
		m.problem(p.Object, "%v", err)
		return nil
	}
	gone, renamed := map[string]bool{}, map[string]string{} // by interface
	for _, e := range elements {
		n := s.in(e.Network.Namespace, e.Network.Name)
		if n == nil {
			continue
		}
		b := bondCNIOf(n)
		if b == nil || !b.LinksInContainer {
			continue
		}
		var links []fields
		for _, l := range b.Links {
			i := slices.IndexFunc(elements, func(e kubeclient.Element) bool { return e.Interface == l.Name })
			if i < 0 {
				m.problem(p.Object, "the bond %s has the link %s, which no network of the pod makes", e.Interface, l.Name)
				return elements
			}
			link, is := s.linkOf(m, elements[i])
			if !is {
				m.problem(p.Object, "network %s, which makes the link %s, is not among the files", elements[i].Network, l.Name)
				return elements
			}
			links = append(links, link)
			gone[l.Name] = true
		}
		renamed[e.Interface] = s.addBond(m, n, s.bondFields(m, n, b, links))
		m.unused("NAD " + n.Object.Name)
		m.note(p.Object, "%s: network-status has one entry with the bond, in place of one for each network", e.Interface)
	}
	if len(renamed) > 0 {
		s.rewrite(m, p, elements, gone, renamed)
	}
	return slices.DeleteFunc(elements, func(e kubeclient.Element) bool { return gone[e.Interface] || renamed[e.Interface] != "" })
}

// addBond adds the NAD of a bond, and returns its name. The links are those of a pod: pods with
// other links get another NAD.
func (s *Set) addBond(m *Migration, n *nad, config fields) (name string) {
	name = n.ObjectMeta.Name + bondSuffix
	for i := 2; ; i++ {
		config.set("name", name)
		there := s.in(n.Namespace, name)
		if (there == nil || there.Spec.Config == config.String()+"\n") && m.add(n.Object, n.Namespace, name, config) {
			return name
		}
		name = fmt.Sprintf("%s%s-%d", n.ObjectMeta.Name, bondSuffix, i)
	}
}

// linkOf returns the element of links that makes what a network of the pod makes.
func (s *Set) linkOf(m *Migration, e kubeclient.Element) (link fields, is bool) {
	n := s.in(e.Network.Namespace, e.Network.Name)
	if n == nil {
		return nil, false
	}
	m.unused("NAD " + n.Object.Name)
	var config map[string]json.RawMessage
	if json.Unmarshal([]byte(n.Spec.Config), &config) != nil {
		return nil, false
	}
	if _, has := config["ipam"]; has && string(config["ipam"]) != "{}" {
		m.note(n.Object, "its ipam is dropped: links of a bond have no addresses")
	}
	resource := n.Annotations[kubeclient.ResourceAnnotation]
	link.set("name", e.Interface)
	if resource != "" {
		link.set("resourceName", resource)
	}
	for _, key := range []string{"name", "cniVersion", "ipam"} {
		delete(config, key)
	}
	plain := len(config) == 1 && string(config["type"]) == `"sriov"`
	if resource == "" || !plain {
		link.set("config", config)
	}
	return link, true
}

// bondFields returns the configuration of the new network.
func (s *Set) bondFields(m *Migration, n *nad, b *bondCNI, links []fields) (out fields) {
	out.set("cniVersion", cmp.Or(textOf(b.rest["cniVersion"]), "1.0.0"))
	out.set("name", "") // addBond sets it
	out.set("type", "multibond")
	mode := cmp.Or(textOf(b.rest[bond.Mode]), bond.ActiveBackup)
	for _, key := range optionsOfBond {
		raw, has := b.rest[key]
		switch {
		case !has || string(raw) == "null":
		case !bond.HasOption(mode, key):
			m.note(n.Object, "%s: is dropped: mode %s does not have this option, and the kernel ignored it", key, mode)
		case key == bond.Miimon && string(number(raw)) == "0":
			m.note(n.Object, "miimon: is dropped: with 0 the bond would never notice a dead link; the default is 100")
		case key == bond.MTU && string(raw) == "0":
		case key == bond.Mode:
			out.set(key, mode)
		default:
			out.set(key, number(raw))
		}
	}
	if _, has := b.rest[bond.FailOverMac]; !has && mode == bond.ActiveBackup {
		m.note(n.Object, "failOverMac: the default is active, not none: each VF keeps its MAC, so it need not be trusted, and the bond's MAC changes in a failover")
	}
	if _, has := b.rest[bond.MTU]; !has {
		m.note(n.Object, "mtu: the default is the smallest MTU of the links, and they are not lowered to 1500")
	}
	if bond.HasOption(mode, bond.Primary) {
		m.note(n.Object, "the first link is the primary: it carries the traffic whenever it can")
	}
	m.note(n.Object, `VFs on one PF, and VFs whose VLANs differ, are refused; "require" has the levels`)
	out.set("links", hoisted(&out, links))
	for _, key := range keptOfBond {
		if raw, has := b.rest[key]; has && string(raw) != "{}" {
			out.set(key, raw)
		}
	}
	m.noteLost(n, b)
	return out
}

// optionsOfBond are the options of a bond that bond-cni reads. keptOfBond are the keys that mean
// the same here.
var (
	optionsOfBond = []string{bond.Mode, bond.Miimon, bond.FailOverMac, bond.MTU, "allSlavesActive", "tlbDynamicLb", "xmitHashPolicy"}
	keptOfBond    = []string{"ipam", "dns", "capabilities", "runtimeConfig", "args"}
)

// noteLost notes what of a NAD of bond-cni the new one does not have.
func (m *Migration) noteLost(n *nad, b *bondCNI) {
	read := slices.Concat(optionsOfBond, keptOfBond, []string{"cniVersion", "name", "type", "links", "linksInContainer"})
	for _, key := range slices.Sorted(keys(b.rest)) {
		if !slices.Contains(read, key) {
			m.note(n.Object, "%s: is not carried over: bond-cni has no use for it", key)
		}
	}
	m.noteNames(n.Object, "labels", n.Labels)
	m.noteNames(n.Object, "annotations", n.Annotations)
}

func (m *Migration) noteNames(of Object, what string, lost map[string]string) {
	names := slices.DeleteFunc(slices.Sorted(keys(lost)), func(name string) bool { return name == corev1.LastAppliedConfigAnnotation })
	if len(names) > 0 {
		m.note(of, "%s: are not carried over: %s", what, strings.Join(names, ", "))
	}
}

// hoisted moves what all links have in common in their configuration into delegate and vlan.
func hoisted(out *fields, links []fields) []fields {
	var common map[string]json.RawMessage
	for i, l := range links {
		own, _ := l.get("config").(map[string]json.RawMessage)
		if own == nil || l.get("resourceName") == nil || i > 0 && !maps.EqualFunc(own, common, func(a, b json.RawMessage) bool { return string(a) == string(b) }) {
			return links
		}
		common = own
	}
	vlan, hasVLAN := common[bond.VLAN]
	common = maps.Clone(common)
	delete(common, bond.VLAN)
	if string(common["type"]) != `"sriov"` {
		common, hasVLAN = maps.Clone(links[0].get("config").(map[string]json.RawMessage)), false
	}
	for i := range links {
		links[i] = slices.DeleteFunc(slices.Clone(links[i]), func(f field) bool { return f.key == "config" })
	}
	if hasVLAN {
		out.set(bond.VLAN, vlan)
	}
	if len(common) > 1 || string(common["type"]) != `"sriov"` {
		out.set("delegate", common)
	}
	return links
}

func (f fields) get(key string) any {
	for _, one := range f {
		if one.key == key {
			return one.value
		}
	}
	return nil
}

func textOf(raw json.RawMessage) (text string) {
	_ = json.Unmarshal(raw, &text)
	return text
}

// rewrite changes the annotation of a pod: what is gone is left out, and what is left keeps
// its interface.
func (s *Set) rewrite(m *Migration, p *pod, elements []kubeclient.Element, gone map[string]bool, renamed map[string]string) {
	annotation := strings.TrimSpace(p.Annotations[kubeclient.NetworksAnnotation])
	var value string
	if annotation[0] == '[' {
		value = m.rewrittenList(p, elements, gone, renamed)
	} else {
		var words []string
		for _, e := range elements {
			if gone[e.Interface] {
				continue
			}
			name := cmp.Or(renamed[e.Interface], e.Network.Name)
			if e.Network.Namespace != p.Namespace {
				name = e.Network.Namespace + "/" + name
			}
			words = append(words, name+"@"+e.Interface)
		}
		value = strings.Join(words, ",")
	}
	before, after, err := withAnnotation(p.raw, p.at, kubeclient.NetworksAnnotation, value)
	if err != nil {
		m.problem(p.Object, "%v", err)
		return
	}
	m.Changes = append(m.Changes, Change{p.Object, before, after})
}

// rewrittenList is rewrite for the JSON form.
func (m *Migration) rewrittenList(p *pod, elements []kubeclient.Element, gone map[string]bool, renamed map[string]string) string {
	var list []map[string]json.RawMessage
	_ = json.Unmarshal([]byte(p.Annotations[kubeclient.NetworksAnnotation]), &list) // it was parsed before
	var out []map[string]json.RawMessage
	for i, one := range list {
		e := elements[i]
		if gone[e.Interface] {
			for _, key := range slices.Sorted(keys(one)) {
				if !slices.Contains([]string{"name", "namespace", "interface"}, key) {
					m.note(p.Object, "%s: %s is not carried over: a link is no network of the pod", e.Interface, key)
				}
			}
			continue
		}
		one["interface"], _ = json.Marshal(e.Interface)
		if name := renamed[e.Interface]; name != "" {
			one["name"], _ = json.Marshal(name)
		}
		out = append(out, one)
	}
	return inLine(out)
}
