package admission

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	nettypes "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/kubeclient"
)

// validators are those of deploy/validate: for NADs, and for pods.
func validators(t testing.TB) (networks, annotations validating.Validator) {
	policies, bindings := manifest[admissionv1.ValidatingAdmissionPolicy, admissionv1.ValidatingAdmissionPolicyBinding](t, validateFile)
	require.Len(t, policies, 2)
	for i, b := range bindings {
		require.Equal(t, policies[i].Name, b.Spec.PolicyName)
		require.Equal(t, []admissionv1.ValidationAction{admissionv1.Deny}, b.Spec.ValidationActions)
	}
	return newValidator(t, policies[0]), newValidator(t, policies[1])
}

var nadKind = schema.GroupVersionKind{Group: "k8s.cni.cncf.io", Version: "v1", Kind: "NetworkAttachmentDefinition"}

// refusedNAD returns why a NAD with this configuration is refused, or "".
func refusedNAD(t testing.TB, v validating.Validator, config string) string {
	nad := object("demo", [3]string{"n", "", config})
	return refusal(t, v, created(nad, "demo", nadKind, nadKind.GroupVersion().WithResource("network-attachment-definitions")))
}

const twoVFs = `for a bond over two VFs: "links": [{"deviceID": "0000:3b:02.1"}, {"deviceID": "0000:5e:02.1"}]`

// TestRefusedNetworks has for each rule what it refuses, with its words.
func TestRefusedNetworks(t *testing.T) {
	networks, _ := validators(t)
	const pair = `"links": [{"resourceName": "intel.com/a"}, {"resourceName": "intel.com/b"}]`
	for config, want := range map[string]string{
		`{"type": "multibond"}`:                                                                                           `links: has no link (` + twoVFs + `) [MB201]`,
		`{"type": "multibond", "links": []}`:                                                                              `links: has no link (` + twoVFs + `) [MB201]`,
		`{"type": "multibond", "links": null, "attach": "each"}`:                                                          `links: has no link (` + twoVFs + `) [MB201]`,
		`{"type": "multibond", "links": [{"deviceID": "0000:3b:02.1"}]}`:                                                  `links: has one link, but a bond needs at least two (` + twoVFs + `; to allow one link: "minLinks": 1) [MB201]`,
		`{"plugins": [{"type": "multibond", ` + pair + `, "mode": "active"}]}`:                                            `plugins[0].mode: is "active", want one of balance-rr, active-backup, balance-xor, broadcast, 802.3ad, balance-tlb, balance-alb [MB301]`,
		`{"type": "multibond", ` + pair + `, "mode": 7}`:                                                                  `mode: is 7, want one of balance-rr, active-backup, balance-xor, broadcast, 802.3ad, balance-tlb, balance-alb [MB301]`,
		`{"plugins": [{"type": "tuning"}, {"type": "multibond", ` + pair + `}]}`:                                          `plugins[1].type: is multibond, but a bond can only be the first plugin of a list (make it the first, or a network of its own) [MB115]`,
		`{"type": "multibond", ` + pair + `, "fail_over_mac": "active"}`:                                                  `fail_over_mac: is not a known key (did you mean failOverMac?) [MB104]`,
		`{"type": "multibond", "links": [{"resourcename": "intel.com/a"}, {"resourceName": "intel.com/b"}]}`:              `links[0].resourcename: is not a known key (want ` + strings.Join(netconf.LinkKeys(), ", ") + `) [MB104]`,
		`{"type": "multibond", "links": [{"prio": 1}, {"name": "eth1"}]}`:                                                 `links[0]: has no source, want one of resourceName, request, network, deviceID, config, pool or name [MB203]`,
		`{"type": "multibond", "links": [{"resourceName": "intel.com/a", "network": "vf"}, {"name": "eth1"}]}`:            `links[0]: has resourceName and network, but a link has one source [MB204]`,
		`{"type": "multibond", "links": [{"resourceName": "intel.com/a", "count": 0}, {"name": "eth1"}]}`:                 `links[0].count: is 0, want 1 to 32 [MB205]`,
		`{"type": "multibond", "links": [{"resourceName": "intel.com/a"}, {"resourceName": "intel.com/a", "count": 33}]}`: `links[1].count: is 33, want 1 to 32 [MB205]`,
		`{"type": "multibond", ` + pair + `, "mode": "802.3ad"}`:                                                          `mode: is 802.3ad over VFs, but a switch port speaks LACP with only one bond (IEEE 802.1AX), and all VFs of a PF share that port (use active-backup, or set "allowLACP": true if neither another pod nor the host uses the ports of the PFs) [MB524]`,
		`{"type": "multibond", ` + pair + `, "mode": 4, "allowLACP": false}`:                                              `mode: is 802.3ad over VFs, but a switch port speaks LACP with only one bond (IEEE 802.1AX), and all VFs of a PF share that port (use active-backup, or set "allowLACP": true if neither another pod nor the host uses the ports of the PFs) [MB524]`,
		`{"type": "multibond", ` + pair + `, "delegate": {"type": "sriov", "link_state": "enable"}}`:                      `delegate.link_state: is enable, which shows a carrier even if the PF is dead, and so hides it from miimon (leave link_state at auto, or use ARP monitoring, or set "require": {"linkState": "warn"}) [MB550]`,
		`{"type": "multibond", ` + pair + `, "delegate": {"type": "sriov", "link_state": "disable"}}`:                     `delegate.link_state: is disable, so no VF ever has a carrier (set "link_state": "auto", or "require": {"linkState": "warn"}) [MB550]`,
		`{"type": "multibond", ` + pair + `, "delegate": {"type": "sriov", "trust": "true", "spoofchk": false}}`:          `delegate.trust: is "true", want "on" or "off" [MB214]; delegate.spoofchk: is false, want "on" or "off" [MB214]`,
		`{"type": "multibond", ` + pair + `,}`:                                                                            `is not valid JSON (check braces, quotes, and commas) [MB101]`,
		`{"type": "multibond", "links": [{"resourceName": "intel.com/a"}, {"resourceName": "intel.com/b"]}`:               `is not valid JSON (check braces, quotes, and commas) [MB101]`,
		`{"type": "multibond" ` + pair + `}`:                                                                              `is not valid JSON (check braces, quotes, and commas) [MB101]`,
		`"type": "multibond", ` + pair:                                                                                    `is not valid JSON (check braces, quotes, and commas) [MB101]`,
		`{"type": "multibond", ` + pair + "\n":                                                                            `is not valid JSON (check braces, quotes, and commas) [MB101]`,
		`{"type": "multibond", "links": [{"resourceName": "intel.com/a"} {"resourceName": "intel.com/b"}]}`:               `is not valid JSON (check braces, quotes, and commas) [MB101]`,
	} {
		why := refusedNAD(t, networks, config)
		assert.Equal(t, "spec.config: "+want, why, config)
		sameVerdict(t, why, config)
	}
}

// valid are networks close to what is refused.
var valid = []string{
	`{"type": "multibond", "minLinks": 1, "links": [{"resourceName": "intel.com/a"}]}`,
	`{"type": "multibond", "links": [{"resourceName": "intel.com/a", "count": 2}]}`,
	`{"type": "multibond", "links": [{"pool": {}, "count": 2, "config": {"type": "macvlan"}}]}`,
	`{"type": "multibond", "attach": "each", "links": [{"resourceName": "intel.com/a"}]}`,
	`{"type": "multibond", "mode": "802.3ad", "allowLACP": true, "links": [{"resourceName": "intel.com/a"}, {"resourceName": "intel.com/b"}]}`,
	`{"type": "multibond", "mode": "802.3ad", "links": [{"pool": {}, "count": 2}], "delegate": {"type": "host-device"}}`,
	`{"type": "multibond", "mode": "802.3ad", "links": [{"resourceName": "intel.com/a", "count": 2}], "delegate": {"type": "host-device"}}`,
	`{"type": "multibond", "mode": " 04 ", "allowLACP": "true", "links": [{"resourceName": "intel.com/a", "count": 2}]}`,
	`{"type": "multibond", "mode": true, "links": [{"name": "eth1"}, {"name": "eth2"}]}`,
	`{"type": "multibond", "mode": null, "links": [{"name": "eth1", "count": null, "network": null}, {"name": "eth2", "wrong": null}]}`,
	`{"type": "multibond", "links": [{"resourceName": "intel.com/a", "count": 2}], "delegate": {"type": "sriov", "link_state": "enable"}, "arpInterval": 100, "arpIpTarget": ["10.1.1.1"]}`,
	`{"type": "multibond", "links": [{"resourceName": "intel.com/a", "count": 2}], "delegate": {"type": "sriov", "link_state": "enable"}, "require": {"linkState": "warn"}}`,
	`{"type": "multibond", "links": [{"name": "a"}, {"name": "b"}], "delegate": {"type": "sriov", "link_state": "disable", "trust": "yes"}}`,
	`{"type": "multibond", "links": [{"resourceName": "intel.com/a", "count": 2}], "delegate": {"type": "other", "link_state": "disable", "trust": "yes"}}`,
	`{"type": "multibond", "attach": "each", "links": [{"resourceName": "intel.com/a"}], "delegate": {"type": "sriov", "link_state": "enable"}}`,
	`{"type": "multibond", "links": [{"name": "a"}, {"name": "b"}], "args": {"cni": {"links": [], "x": "{,}", "y": "},{"}}, "ipam": {"type": "static", "addresses": []}}`,
	`{"type": "multibond", "mo\u0064e": "balance-rr", "links": [{"name": "a"}, {"name": "b"}]}`,
	`{"plugins": [{"type": "multibond", "links": [{"name": "a"}, {"name": "b"}]}, {"type": "tuning", "links": [{"wrong": 1}]}]}`,
	`{"type": "macvlan", "master": "multibond", "links": [{"wrong": "multibond"}], "multibond": {"mode": "x"},"plugin": [{"type": "multibond"}]}`,
	`{"type": "bond", "links": [{"name": "a", "wrong": "multibond"}, {"name": "b"}], "Mode": "active-backup", "x": "multibond"}`,
	"\n{\n\t\"type\" : \"multibond\"\n,\n\"links\"\n:\n[\n{\n\"name\"\n:\n\"a\"\n}\n,\n{\n\"name\":\"b\"}]}\n\n",
}

// TestValidNetworks checks that nothing is refused that the agent and the plugin accept.
func TestValidNetworks(t *testing.T) {
	networks, _ := validators(t)
	for _, config := range valid {
		assert.Empty(t, refusedNAD(t, networks, config), config)
	}
	for _, nad := range nads {
		assert.Empty(t, refusedNAD(t, networks, nad[2]), nad[0])
	}
}

// TestEveryNetworkOfTheProject checks all networks in all files of the project: the policy
// refuses only what the agent or the plugin refuses for the same kind of problem.
func TestEveryNetworkOfTheProject(t *testing.T) {
	networks, _ := validators(t)
	broken := regexp.MustCompile(words["Broken"].(string))
	refused, all := 0, everyObject(t)
	for config, file := range all {
		require.False(t, broken.MatchString(config), "%s: %s", file, config)
		if why := refusedNAD(t, networks, config); why != "" {
			refused++
			sameVerdict(t, why, config)
		}
	}
	t.Logf("%d objects, %d networks refused", len(all), refused)
	assert.Greater(t, len(all), 300)
	assert.Greater(t, refused, 10)
}

// TestAlmostNetworks checks that of networks with a mistake somewhere only those are refused
// that the agent or the plugin refuses, too.
func TestAlmostNetworks(t *testing.T) {
	networks, _ := validators(t)
	refused := 0
	texts, bonds := slices.Clone(valid), slices.Sorted(maps.Keys(everyBond(t)))
	for i := len(bonds) - 1; i >= 0; i -= 4 {
		texts = append(texts, bonds[i])
	}
	for config := range almost(texts) {
		if why := refusedNAD(t, networks, config); why != "" {
			refused++
			require.Error(t, verdict(config), "%s\n%s", config, why)
		}
	}
	assert.Greater(t, refused, 100)
}

// everyObject returns the objects of JSON in the files of the project, each with its file.
func everyObject(t *testing.T) map[string]string {
	out := map[string]string{}
	const top = "../.."
	require.NoError(t, filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{".git", "build"}, d.Name()):
			return fs.SkipDir
		case d.IsDir() || !slices.Contains([]string{".go", ".txtar", ".yaml", ".json", ".md"}, filepath.Ext(path)):
			return nil
		}
		text, err := os.ReadFile(path)
		for rest := string(text); err == nil; {
			at := strings.IndexByte(rest, '{')
			if at < 0 {
				break
			}
			rest = rest[at:]
			var object map[string]any
			decoder := json.NewDecoder(strings.NewReader(rest))
			if decoder.Decode(&object) != nil {
				rest = rest[1:]
				continue
			}
			out[rest[:decoder.InputOffset()]] = path
			rest = rest[decoder.InputOffset():]
		}
		return err
	}))
	return out
}

// everyBond are those of them that could be networks of ours.
func everyBond(t *testing.T) map[string]string {
	out := everyObject(t)
	maps.DeleteFunc(out, func(config, _ string) bool {
		return len(config) > 1000 || !strings.Contains(config, `"links"`) || !strings.Contains(config, `"multibond"`)
	})
	return out
}

// almost yields each text with single changes.
func almost(texts []string) func(yield func(string) bool) {
	random := rand.New(rand.NewPCG(1, 2))
	const letters = `{}[],:" 0aA_-1/@` + "\n"
	return func(yield func(string) bool) {
		for _, text := range texts {
			for range 20 {
				at := random.IntN(len(text))
				end := min(len(text), at+random.IntN(3))
				letter := random.IntN(len(letters))
				if !yield(text[:at] + letters[letter:letter+random.IntN(2)] + text[end:]) {
					return
				}
			}
		}
	}
}

var codeForm = regexp.MustCompile(`MB[0-9]+`)

// sameVerdict checks that ADD would refuse a network, too, for each of the kinds of problems
// that the policy names.
func sameVerdict(t *testing.T, why, config string) {
	t.Helper()
	err := verdict(config)
	for _, one := range codeForm.FindAllString(why, -1) {
		require.Contains(t, fmt.Sprint(code.Of(err)), one, "%s\n%s\n%v", config, why, err)
	}
}

// verdict is what kubectl multibond validate says of a network, by the code that runs for an ADD.
func verdict(config string) error {
	unseen := func(types.NamespacedName) (*nettypes.NetworkAttachmentDefinition, error) {
		return nil, kubeclient.ErrUnseen
	}
	return kubeclient.Judge{NAD: unseen}.One(&nettypes.NetworkAttachmentDefinition{
		ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "n"}, Spec: nettypes.NetworkAttachmentDefinitionSpec{Config: config},
	}).Err
}

// refusedPod returns why a pod with this annotation is refused, or "".
func refusedPod(t testing.TB, v validating.Validator, annotation string) string {
	return refusal(t, v, created(newPod(annotation, nil), "demo", podKind, podResource))
}

// TestRefusedAnnotations has for each rule what it refuses, with its words.
func TestRefusedAnnotations(t *testing.T) {
	_, annotations := validators(t)
	const noList = `networks: is not a list, want a JSON list, or names separated by commas ([{"name": "net"}] or net, other/net@eth5) [MB601]`
	const noName = ` (lower-case letters, digits, hyphens and dots) [MB604]`
	for annotation, want := range map[string]string{
		`{"name": "bond"}`:                         noList,
		` "bond"`:                                  noList,
		`[{"name": "bond"}`:                        `networks: is not valid JSON (check brackets, quotes, and commas) [MB101]`,
		`[{"name": "bond"]`:                        `networks: is not valid JSON (check brackets, quotes, and commas) [MB101]`,
		`[{"name": "bond",}]`:                      `networks: is not valid JSON (check brackets, quotes, and commas) [MB101]`,
		`[{"name": "bond"} {"name": "vf"}]`:        `networks: is not valid JSON (check brackets, quotes, and commas) [MB101]`,
		`[{"name": "vf"}, {"interface": "bond0"}]`: `networks[1].name: is missing, want the name of a NetworkAttachmentDefinition [MB604]`,
		`[{"name": "my_bond"}]`:                    `networks[0]: is "my_bond", which is not a valid name of a NetworkAttachmentDefinition` + noName,
		`vf, Bond@bond0`:                           `networks[1]: is "Bond", which is not a valid name of a NetworkAttachmentDefinition` + noName,
		`vf,`:                                      `networks[1].name: is missing, want the name of a NetworkAttachmentDefinition [MB604]`,
		`a/b/c`:                                    `networks[0]: is "a/b/c", which is not a valid name of a NetworkAttachmentDefinition` + noName,
		`vf@a-name-of-17-byte, vf@`:                `networks[0].interface: is "a-name-of-17-byte", but an interface name has at most 15 bytes, and no slash, colon, percent sign or blank [MB207]`,
		`[{"name": "vf", "interface": "a b"}]`:     `networks[0].interface: is "a b", but an interface name has at most 15 bytes, and no slash, colon, percent sign or blank [MB207]`,
		`vf@net5, bond@net5`:                       `networks: several ask for the interface net5 [MB605]`,
	} {
		assert.Equal(t, "annotation k8s.v1.cni.cncf.io/networks: "+want, refusedPod(t, annotations, annotation), annotation)
	}
}

// TestAlmostAnnotations checks that only annotations are refused that the agent refuses, too,
// for the same kind of problem.
func TestAlmostAnnotations(t *testing.T) {
	_, validator := validators(t)
	for _, annotation := range annotations {
		assert.Empty(t, refusedPod(t, validator, annotation), annotation)
	}
	refused := 0
	for annotation := range almost(slices.Concat(annotations, slices.Repeat([]string{"bond", "ns/bond@bond0", "a, b@c, d/e"}, 9))) {
		why := refusedPod(t, validator, annotation)
		if why == "" {
			continue
		}
		refused++
		_, err := kubeclient.ParseNetworks(annotation, "demo", []string{"eth0"})
		require.Error(t, err, "%q\n%s", annotation, why)
		for _, one := range codeForm.FindAllString(why, -1) {
			if slices.Contains(code.Of(err), code.NotJSON) {
				break
			}
			require.Contains(t, fmt.Sprint(code.Of(err)), one, "%q\n%s\n%v", annotation, why, err)
		}
	}
	assert.Greater(t, refused, 100)
}

// TestUnchangedNetworks checks that a NAD that was there before the policy can be changed
// otherwise, and that one that is made worse cannot.
func TestUnchangedNetworks(t *testing.T) {
	networks, _ := validators(t)
	bad, good := object("demo", [3]string{"n", "", `{"type": "multibond"}`}), object("demo", [3]string{"n", "", valid[0]})
	resource := nadKind.GroupVersion().WithResource("network-attachment-definitions")
	updated := func(from, to *unstructured.Unstructured) *admission.VersionedAttributes {
		record := admission.NewAttributesRecord(to, from, nadKind, "demo", "n", resource, "", admission.Update, &metav1.UpdateOptions{}, false, &user.DefaultInfo{Name: "somebody"})
		return &admission.VersionedAttributes{Attributes: record, VersionedObject: to, VersionedOldObject: from, VersionedKind: nadKind}
	}
	assert.Empty(t, refusal(t, networks, updated(bad, bad)))
	assert.Empty(t, refusal(t, networks, updated(bad, good)))
	assert.NotEmpty(t, refusal(t, networks, updated(good, bad)))
	empty := object("demo", [3]string{"n", "", ""})
	delete(empty.Object, "spec")
	assert.NotEmpty(t, refusal(t, networks, updated(empty, bad)))
	assert.Empty(t, refusal(t, networks, updated(bad, empty)))
}

// BenchmarkValidate is what the creation of a NAD, and of a pod, takes longer.
func BenchmarkValidate(b *testing.B) {
	networks, annotations := validators(b)
	for name, config := range map[string]string{"a bond": nads[0][2], "a list": nads[4][2], "another plugin's": nads[13][2]} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				refusedNAD(b, networks, config)
			}
		})
	}
	for name, annotation := range map[string]string{"a pod with a bond": "bond@bond0", "a pod without networks": ""} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				refusedPod(b, annotations, annotation)
			}
		})
	}
}
