package chart

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// same has for values of the chart the settings of a kustomization.
var same = []struct{ name, values, settings string }{
	{"default", "", ""},
	{"beside-multus", "besideMultus: true", "components: [../deploy/beside-multus]"},
	{"keep", "keep: {enabled: true}", "components: [../deploy/keep]"},
	{"keep-inside", "keep: {enabled: true, inside: true}", "components: [../deploy/keep, ../deploy/keep-inside]"},
	{"without/relay", "keep: {enabled: true, relay: false}", "components: [../deploy/keep, ../deploy/without/relay]"},
	{"without/relay, inside", "keep: {enabled: true, inside: true, relay: false}", "components: [../deploy/keep, ../deploy/keep-inside, ../deploy/without/relay]"},
	{"keep-config", "keepConfig: true", "components: [../deploy/keep-config]"},
	{"inject", "inject: {enabled: true}", "resources: [../deploy, ../deploy/inject]"},
	{"inject in some namespaces", "inject: {enabled: true, namespaceSelector: {matchLabels: {multibond.io/inject: 'true'}}}", `
resources: [../deploy, ../deploy/inject]
patches:
  - target: {kind: MutatingAdmissionPolicyBinding, name: multibond-inject}
    patch: |
      - {op: add, path: /spec/matchResources, value: {namespaceSelector: {matchLabels: {multibond.io/inject: 'true'}}}}`},
	{"webhook", "webhook: {enabled: true}", "components: [../deploy/webhook]"},
	{"beside-multus/webhook", "besideMultus: true\nwebhook: {enabled: true}", "components: [../deploy/beside-multus, ../deploy/beside-multus/webhook]"},
	{"distributions/openshift/webhook", "distribution: openshift\nwebhook: {enabled: true}", "components: [../deploy/distributions/openshift, ../deploy/distributions/openshift/webhook]"},
	{"webhook in some namespaces", `
webhook:
  enabled: true
  namespaceSelector: {matchLabels: {vfs: "yes"}, matchExpressions: [{key: a, operator: Exists}]}
  tolerations: [{key: b, operator: Exists}]`, `
components: [../deploy/webhook]
patches:
  - target: {kind: (Mutating|Validating)WebhookConfiguration}
    patch: |
      - {op: add, path: /webhooks/0/namespaceSelector/matchLabels, value: {vfs: "yes"}}
      - {op: add, path: /webhooks/0/namespaceSelector/matchExpressions/-, value: {key: a, operator: Exists}}
  - target: {kind: Deployment}
    patch: |
      - {op: add, path: /spec/template/spec/tolerations/-, value: {key: b, operator: Exists}}`},
	{"validate", "validate: deny", "resources: [../deploy, ../deploy/validate]"},
	{"validate-warn", "validate: warn", "resources: [../deploy, ../deploy/validate-warn]"},
	{"monitoring", "monitoring: {enabled: true}", "components: [../deploy/monitoring]"},
	{"monitoring/metrics", "monitoring: {enabled: true, operator: false, dashboard: false}", "components: [../deploy/monitoring/metrics]"},
	{"checkpoint", "checkpoint: true", "components: [../deploy/checkpoint]"},
	{"dra", "dra: true", "resources: [../deploy, ../deploy/dra]"},
	{"multus-confdir", "paths: {multus: /etc/cni/multus/net.d}", "components: [../deploy/multus-confdir]\n" + configured(`"confDir": "/etc/cni/multus/net.d"`)},
	{"without/amd64", "architectures: [arm64]\nkeep: {enabled: true}", "components: [../deploy/keep, ../deploy/without/amd64]"},
	{"without/amd64, webhook", "architectures: [arm64]\nwebhook: {enabled: true}", "components: [../deploy/webhook, ../deploy/without/amd64]"},
	{"without/arm64", "architectures: [amd64]\nmonitoring: {enabled: true}", "components: [../deploy/monitoring, ../deploy/without/arm64]"},
	{"without/node-tokens", "nodeTokens: false", "components: [../deploy/without/node-tokens]"},
	{"distributions/k0s", "distribution: k0s", "components: [../deploy/distributions/k0s]"},
	{"distributions/k3s", "distribution: k3s", "components: [../deploy/distributions/k3s]"},
	{"distributions/microk8s", "distribution: microk8s", "components: [../deploy/distributions/microk8s]"},
	{"distributions/openshift", "distribution: openshift", "components: [../deploy/distributions/openshift]"},
	{"distributions/openshift/keep", "distribution: openshift\nkeep: {enabled: true}", "components: [../deploy/distributions/openshift, ../deploy/distributions/openshift/keep]"},
	{"distributions/openshift/keep-inside", "distribution: openshift\nkeep: {enabled: true, inside: true}", "components: [../deploy/distributions/openshift, ../deploy/distributions/openshift/keep-inside]"},
	{"distributions/talos", "distribution: talos", "components: [../deploy/distributions/talos]"},
	{"distributions/talos with keep", "distribution: talos\nkeep: {enabled: true, inside: true}", "components: [../deploy/keep, ../deploy/keep-inside, ../deploy/distributions/talos]"},
	{"uninstall", "uninstall: true", "components: [../deploy/uninstall]"},
	{"uninstall, beside Multus", "uninstall: true\nbesideMultus: true", "components: [../deploy/beside-multus, ../deploy/uninstall]"},
	{"uninstall, of the keeper", "uninstall: true\nkeepConfig: true", "components: [../deploy/keep-config, ../deploy/uninstall]"},
	{"bond-cni's place", "bondCNI: add", argument("-bond")},
	{"bond-cni's place, whoever has it", "bondCNI: replace\ndistribution: k3s", "components: [../deploy/distributions/k3s]\n" + argument("-replace-bond")},
	{"configuration", "config: {namespaceIsolation: true}", configured(`"namespaceIsolation": true`)},
	{"image", "image: {repository: 'registry.example:5000/agent', tag: v1}\nkeep: {enabled: true}\nmonitoring: {enabled: true}",
		"components: [../deploy/keep, ../deploy/monitoring]\nimages: [{name: ghcr.io/multibond/multibond-agent, newName: 'registry.example:5000/agent', newTag: v1}]"},
	{"paths", "paths: {plugins: /a/bin, configurations: /a/conf, kubelet: /a/kubelet}\ncheckpoint: true", "components: [../deploy/checkpoint]" + `
patches:
  - target: {kind: DaemonSet}
    patch: |
      - {op: replace, path: /spec/template/spec/initContainers/0/args/3, value: -host-conf-dir=/a/conf}
  - patch: |
      apiVersion: apps/v1
      kind: DaemonSet
      metadata: {name: multibond-agent, namespace: multibond-system}
      spec:
        template:
          spec:
            volumes:
              - {name: cni-bin, hostPath: {path: /a/bin}}
              - {name: cni-conf, hostPath: {path: /a/conf}}
              - {name: pod-resources, hostPath: {path: /a/kubelet/pod-resources}}
              - {name: device-plugins, hostPath: {path: /a/kubelet/device-plugins}}
` + strings.Replace(strings.Replace(configured(`"x": 0`), `"x": 0,`, "", 1), `"confDir": "/etc/cni/net.d"`, `"confDir": "/a/conf"`, 1)[len("patches:\n"):]},
	{"pods", `
imagePullSecrets: [{name: registry}]
nodeSelector: {vfs: "yes"}
tolerations: [{key: a, operator: Exists}]
resources: {agent: {requests: {cpu: 1}, limits: {memory: 1Gi}}, webhook: {limits: {memory: 256Mi}}}
webhook: {enabled: true}
keep: {enabled: true}`, `
components: [../deploy/keep, ../deploy/webhook]
patches:
  - target: {kind: DaemonSet}
    patch: |
      - {op: add, path: /spec/template/spec/imagePullSecrets, value: [{name: registry}]}
      - {op: add, path: /spec/template/spec/nodeSelector/vfs, value: "yes"}
      - {op: replace, path: /spec/template/spec/tolerations, value: [{key: a, operator: Exists}]}
  - target: {kind: Deployment}
    patch: |
      - {op: add, path: /spec/template/spec/imagePullSecrets, value: [{name: registry}]}
      - {op: replace, path: /spec/template/spec/containers/0/resources/limits/memory, value: 256Mi}
      - {op: replace, path: /spec/template/spec/containers/0/env/1/value, value: 192MiB}
  - target: {kind: DaemonSet, name: multibond-agent}
    patch: |
      - {op: replace, path: /spec/template/spec/containers/0/resources, value: {requests: {cpu: 1, memory: 48Mi}, limits: {memory: 1Gi}}}
      - {op: replace, path: /spec/template/spec/containers/0/env/1, value: {name: GOMEMLIMIT, value: 768MiB}}`},
}

// argument is the setting for an argument of the step install, as deploy/README.md has it.
func argument(arg string) string {
	return `
patches:
  - target: {kind: DaemonSet, name: multibond-agent}
    patch: |
      - {op: add, path: /spec/template/spec/initContainers/0/args/-, value: ` + arg + `}`
}

// configured is the setting for a key of the cluster's configuration.
func configured(key string) string {
	return `patches:
  - patch: |
      apiVersion: v1
      kind: ConfigMap
      metadata: {name: multibond-cluster, namespace: multibond-system}
      data:
        00-multibond.conflist: |
          {"cniVersion": "1.0.0", "cniVersions": ["1.0.0", "1.1.0"], "name": "multibond", "plugins": [{
            "type": "multibond", ` + key + `,
            "capabilities": {"portMappings": true, "bandwidth": true, "dns": true, "ipRanges": true, "ips": true, "mac": true, "aliases": true},
            "agent": "/run/multibond/agent.sock", "defaultNetwork": {"confDir": "/etc/cni/net.d", "name": ""}}]}
`
}

// TestSame compares the chart's objects with the kustomization's, one by one.
func TestSame(t *testing.T) {
	for _, test := range same {
		t.Run(test.name, func(t *testing.T) {
			settings := test.settings
			if !strings.Contains(settings, "resources: [../") {
				settings = "resources: [../deploy]\n" + settings
			}
			want, got := kustomization(t, settings), chart(t, test.values).objects
			// Helm makes the namespace itself, and no CRD that is there already.
			delete(want, "Namespace <nil>/"+system)
			if strings.Contains(test.name, "openshift") {
				maps.DeleteFunc(got, func(_ string, o object) bool { return o["kind"] == "CustomResourceDefinition" })
			}
			forget(got, "DaemonSet "+system+"/multibond-agent", "spec", "template", "metadata", "annotations", "checksum/config")
			if diff := cmp.Diff(normalized(t, want), normalized(t, got)); diff != "" {
				t.Errorf("the kustomization (-) and the chart (+) differ:\n%s", diff)
			}
		})
	}
}

// forget removes a field, and what is empty without it.
func forget(all map[string]object, id string, path ...string) {
	var within func(in map[string]any, path []string)
	within = func(in map[string]any, path []string) {
		if len(path) == 1 {
			delete(in, path[0])
			return
		}
		next, _ := in[path[0]].(map[string]any)
		within(next, path[1:])
		if len(next) == 0 {
			delete(in, path[0])
		}
	}
	within(all[id], path)
}

// TestComponents checks that each component of the kustomization has a value, and is compared.
func TestComponents(t *testing.T) {
	// Helm has --skip-crds, and makes no CRD that is there.
	compared := []string{"without/crd"}
	for _, test := range same {
		compared = append(compared, test.name)
	}
	for _, component := range components(t) {
		assert.Contains(t, compared, component, "deploy/%s has no value in deploy/chart/values.yaml, or no row in the table same", component)
	}
}

// TestNamespace checks that the chart can be installed in any namespace.
func TestNamespace(t *testing.T) {
	everything := "keep: {enabled: true, inside: true}\nmonitoring: {enabled: true}\ndra: true\ninject: {enabled: true}\nwebhook: {enabled: true}\nvalidate: deny\ndistribution: openshift"
	out, err := helm(t, everything, "other", "v1.36.3")
	require.NoError(t, err)
	all := maps.Clone(out.objects)
	maps.Copy(all, out.hooks)
	require.Greater(t, len(all), 30)
	for id, o := range all {
		text, err := json.Marshal(o)
		require.NoError(t, err)
		assert.NotContains(t, string(text), system, id)
	}
	assert.NotContains(t, out.notes, system)
}

// TestVersions checks that what a version of Kubernetes cannot do is refused, with a way out.
func TestVersions(t *testing.T) {
	for _, test := range []struct{ version, values, problem string }{
		{"v1.36.0", "inject: {enabled: true}\nvalidate: deny", ""},
		{"v1.35.4", "validate: warn", ""},
		{"v1.32.0-eks.1", "", ""},
		{"v1.31.9", "nodeTokens: false", ""},
		{"v1.31.9", "", "nodeTokens=false"},
		{"v1.34.0", "validate: warn", "1.35 or newer"},
		{"v1.35.0", "inject: {enabled: true}", "1.36 or newer"},
	} {
		_, err := helm(t, test.values, system, test.version)
		if test.problem == "" {
			assert.NoError(t, err, test.version)
		} else {
			assert.ErrorContains(t, err, test.problem, test.version)
		}
	}
	_, err := helm(t, "keepConfig: true\nbesideMultus: true", system, "v1.36.3")
	assert.ErrorContains(t, err, "keepConfig")
}

// TestDigest checks that the image of a release goes by its digest, and that one's own does
// not get the digest of another.
func TestDigest(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	for values, want := range map[string]string{
		"{}":                                "ghcr.io/multibond/multibond-agent:v0.4.0@sha256:released",
		"{repository: mirror/a}":            "mirror/a:v0.4.0@sha256:released",
		"{tag: v1}":                         "ghcr.io/multibond/multibond-agent:v1",
		"{digest: " + digest + "}":          "ghcr.io/multibond/multibond-agent@" + digest,
		"{tag: v1, digest: " + digest + "}": "ghcr.io/multibond/multibond-agent:v1@" + digest,
	} {
		released := load(t)
		released.Metadata.AppVersion = "v0.4.0"
		released.Metadata.Annotations["multibond.io/image-digest"] = "sha256:released"
		out, err := render(t, released, "keep: {enabled: true}\nimage: "+values, system, "v1.36.3")
		require.NoError(t, err)
		text, err := json.Marshal(out.objects["DaemonSet "+system+"/multibond-keep"])
		require.NoError(t, err)
		assert.Contains(t, string(text), `"image":"`+want+`"`, values)
	}
}

// TestChecksum checks that the pods of the agent are replaced if the configuration changes, and
// only then.
func TestChecksum(t *testing.T) {
	sum := func(values string) any {
		set := chart(t, values).objects["DaemonSet "+system+"/multibond-agent"]
		template := set["spec"].(map[string]any)["template"].(map[string]any)
		return template["metadata"].(map[string]any)["annotations"].(map[string]any)["checksum/config"]
	}
	assert.NotEqual(t, sum(""), sum("config: {namespaceIsolation: true}"))
	assert.Equal(t, sum(""), sum("keep: {enabled: true}"))
}

// TestHooks checks that nothing but the Job that refuses the uninstallation is a hook, and that
// it has no right and no file of the node.
func TestHooks(t *testing.T) {
	hooks := chart(t, "").hooks
	require.Equal(t, []string{"Job " + system + "/multibond-refuses-uninstall"}, slices.Collect(maps.Keys(hooks)))
	pod := hooks["Job "+system+"/multibond-refuses-uninstall"]["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)
	assert.Equal(t, false, pod["automountServiceAccountToken"])
	assert.Nil(t, pod["volumes"])
	assert.Nil(t, pod["initContainers"])
	assert.Len(t, pod["containers"], 1)
	text, err := json.Marshal(pod)
	require.NoError(t, err)
	assert.Contains(t, string(text), "helm rollback bonds 1 -n multibond-system", "the way out")
	assert.Empty(t, chart(t, "uninstall: true").hooks)
}

// TestNotes checks that the notes name the commands that check the installation.
func TestNotes(t *testing.T) {
	notes := chart(t, "").notes
	assert.Contains(t, notes, "kubectl -n multibond-system rollout status daemonset/multibond-agent\n")
	assert.Contains(t, notes, "kubectl multibond status --wait\n")
	assert.Contains(t, chart(t, "uninstall: true").notes, "helm uninstall bonds -n multibond-system")
}
