package kubeclient

import (
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// rendered is what an administrator applies.
type rendered []any

// render renders the manifests with the settings of an administrator, in a folder of
// their own.
func render(t *testing.T, settings string) rendered {
	t.Helper()
	top, err := filepath.Abs(manifests)
	require.NoError(t, err)
	own := t.TempDir()
	deploy, err := filepath.Rel(own, top)
	require.NoError(t, err)
	text := strings.ReplaceAll("resources: [../deploy]\n"+settings, "../deploy", deploy)
	require.NoError(t, os.WriteFile(filepath.Join(own, "kustomization.yaml"), []byte(text), 0o600))
	return rendering(t, own)
}

// rendering is what a folder is rendered to.
func rendering(t *testing.T, dir string) rendered {
	t.Helper()
	all, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	require.NoError(t, err)
	out, err := all.AsYaml()
	require.NoError(t, err)
	return decode(t, out, dir)
}

// all returns the objects of type T.
func all[T any](r rendered) (out []T) {
	for _, o := range r {
		if o, is := o.(T); is {
			out = append(out, o)
		}
	}
	return out
}

// flagsOf returns the flags of a container. Those that it does not set have the program's defaults.
func flagsOf(c corev1.Container, defaults map[string]string) map[string]string {
	for _, arg := range c.Args {
		name, value, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		defaults[name] = value
	}
	return defaults
}

// onHost returns the directory or file of the host that a path of a container is, or "".
func onHost(spec corev1.PodSpec, c corev1.Container, name string) string {
	var host, longest string
	for _, m := range c.VolumeMounts {
		rest, below := strings.CutPrefix(name, m.MountPath)
		if !below || rest != "" && rest[0] != '/' || len(m.MountPath) <= len(longest) {
			continue
		}
		i := slices.IndexFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		if i >= 0 && spec.Volumes[i].HostPath != nil {
			host, longest = path.Join(spec.Volumes[i].HostPath.Path, rest), m.MountPath
		}
	}
	return host
}

// TestDistributions checks that the paths of each distribution agree: what the programs'
// flags name is mounted from the distribution's directories, and the plugin looks for the
// default network where the installer writes.
func TestDistributions(t *testing.T) {
	const upstreamKubelet = "/var/lib/kubelet"
	for _, test := range []struct {
		name, bin, conf, kubelet string
		beside                   bool
	}{
		{"", "/opt/cni/bin", "/etc/cni/net.d", upstreamKubelet, false},
		{"k3s", "/var/lib/rancher/k3s/data/cni", "/var/lib/rancher/k3s/agent/etc/cni/net.d", upstreamKubelet, false},
		{"k0s", "/opt/cni/bin", "/etc/cni/net.d", "/var/lib/k0s/kubelet", false},
		{"microk8s", "/var/snap/microk8s/current/opt/cni/bin", "/var/snap/microk8s/current/args/cni-network", "/var/snap/microk8s/common/var/lib/kubelet", false},
		{"openshift", "/var/lib/cni/bin", "/etc/kubernetes/cni/net.d", upstreamKubelet, true},
		{"talos", "/opt/cni/bin", "/etc/cni/net.d", upstreamKubelet, false},
	} {
		t.Run("with "+test.name, func(t *testing.T) {
			settings := ""
			if test.name != "" {
				settings = "components: [../deploy/distributions/" + test.name + "]"
			}
			r := render(t, settings)
			sets := all[*appsv1.DaemonSet](r)
			require.Len(t, sets, 1)
			spec := sets[0].Spec.Template.Spec
			install, agent := spec.InitContainers[0], spec.Containers[0]

			flags := flagsOf(install, map[string]string{})
			assert.Equal(t, test.bin, onHost(spec, install, flags["bin-dir"]), "plugins")
			assert.Equal(t, test.conf, onHost(spec, install, flags["conf-dir"]), "configurations")
			assert.Equal(t, test.beside, flags["config"] == "", "beside Multus")
			if !test.beside {
				assert.Equal(t, test.conf, flags["host-conf-dir"], "what the installer compares with the ConfigMap")
			}
			flags = flagsOf(agent, map[string]string{"conf-dir": "/etc/cni/net.d", "kubelet-socket": "/var/lib/kubelet/pod-resources/kubelet.sock"})
			assert.Equal(t, test.conf, onHost(spec, agent, flags["conf-dir"]), "the agent's configurations")
			assert.Equal(t, test.kubelet+"/pod-resources/kubelet.sock", onHost(spec, agent, flags["kubelet-socket"]))
			for _, v := range spec.Volumes {
				ours := v.HostPath == nil || slices.Contains([]string{"run", "devinfo", "state"}, v.Name)
				assert.True(t, ours || *v.HostPath.Type == corev1.HostPathDirectory, "%s is made if it is not there", v.Name)
				assert.False(t, !ours && strings.HasPrefix(v.HostPath.Path, upstreamKubelet) && test.kubelet != upstreamKubelet, "%s: another kubelet's", v.Name)
			}
			if !test.beside {
				assert.Equal(t, test.conf, clusterOf(t, all[*corev1.ConfigMap](r)[0]).ConfDir)
			}
		})
	}
}

// containerOf returns the container with a name.
func containerOf(t *testing.T, spec corev1.PodSpec, name string) corev1.Container {
	t.Helper()
	i := slices.IndexFunc(spec.Containers, func(c corev1.Container) bool { return c.Name == name })
	require.GreaterOrEqual(t, i, 0, "there is no container %s", name)
	return spec.Containers[i]
}

// TestUninstallRendered checks that each installation is removed by its own image, account
// and paths, whatever its components and settings are.
func TestUninstallRendered(t *testing.T) {
	for _, components := range []string{"", "distributions/k3s", "distributions/k0s", "distributions/microk8s", "distributions/openshift", "distributions/talos", "beside-multus", "keep-config", "without/crd"} {
		t.Run("of "+components, func(t *testing.T) {
			list := []string{}
			if components != "" {
				list = append(list, "../deploy/"+components)
			}
			const own = "\nimages: [{name: ghcr.io/multibond/multibond-agent, newName: registry.example/agent, newTag: v1}]\nnamespace: other"
			settings := func(list ...string) string { return "components: [" + strings.Join(list, ", ") + "]" + own }
			before := all[*appsv1.DaemonSet](render(t, settings(list...)))[0].Spec.Template.Spec
			set := all[*appsv1.DaemonSet](render(t, settings(append(list, "../deploy/uninstall")...)))[0]
			assert.Equal(t, "100%", set.Spec.UpdateStrategy.RollingUpdate.MaxSurge.String(), "a node waits for another one's pods")
			spec := set.Spec.Template.Spec
			assert.Empty(t, spec.InitContainers, "it would be installed again")
			require.Len(t, spec.Containers, 2)
			assert.Equal(t, containerOf(t, before, "agent"), containerOf(t, spec, "agent"), "pods need it until they are gone")
			install, uninstall := before.InitContainers[0], containerOf(t, spec, "uninstall")
			assert.Equal(t, []string{"/multibond-agent", "uninstall"}, uninstall.Command)
			assert.Equal(t, install.Image, uninstall.Image)
			assert.Equal(t, install.SecurityContext, uninstall.SecurityContext)
			assert.Equal(t, before.ServiceAccountName, spec.ServiceAccountName)
			was, is := flagsOf(install, map[string]string{}), flagsOf(uninstall, map[string]string{})
			for _, name := range []string{"bin-dir", "conf-dir"} {
				assert.Equal(t, onHost(before, install, was[name]), onHost(spec, uninstall, is[name]), name)
			}
			assert.Equal(t, "/var/lib/cni/multibond", onHost(spec, uninstall, is["state-dir"]))
			paths := map[string]bool{}
			for _, m := range uninstall.VolumeMounts {
				assert.False(t, paths[m.MountPath], "%s is mounted twice", m.MountPath)
				paths[m.MountPath] = true
			}
			assert.Equal(t, uninstall.ReadinessProbe.HTTPGet.Host+":"+uninstall.ReadinessProbe.HTTPGet.Port.String(), is["listen"])
		})
	}
}

// kindsOf counts objects by kind.
func kindsOf(r rendered) map[string]int {
	n := map[string]int{}
	for _, o := range r {
		text, _ := json.Marshal(o)
		var head struct{ Kind string }
		_ = json.Unmarshal(text, &head)
		n[head.Kind]++
	}
	return n
}

// TestOpenShift checks that the agent's account may use the constraints that allow its pods, and
// that nothing is applied that OpenShift owns.
func TestOpenShift(t *testing.T) {
	r := render(t, "namespace: other\ncomponents: [../deploy/distributions/openshift]")
	assert.Empty(t, kindsOf(r)["CustomResourceDefinition"], "the CRD is OpenShift's")
	assert.Equal(t, 1, kindsOf(r)["SecurityContextConstraints"])
	roles, bindings := all[*rbacv1.Role](r), all[*rbacv1.RoleBinding](r)
	scc := func(name string) bool { return strings.HasSuffix(name, "-scc") }
	role := slices.IndexFunc(roles, func(r *rbacv1.Role) bool { return scc(r.Name) })
	binding := slices.IndexFunc(bindings, func(b *rbacv1.RoleBinding) bool { return scc(b.RoleRef.Name) })
	require.GreaterOrEqual(t, role, 0)
	require.GreaterOrEqual(t, binding, 0)
	assert.Equal(t, roles[role].Name, bindings[binding].RoleRef.Name)
	assert.Equal(t, []string{"multibond-agent"}, roles[role].Rules[0].ResourceNames)
	account := all[*corev1.ServiceAccount](r)[0]
	assert.Equal(t, []rbacv1.Subject{{Kind: "ServiceAccount", Name: account.Name, Namespace: account.Namespace}}, bindings[binding].Subjects)
}

// TestRenamed checks that all admission policies hold for the agent's account if the
// administrator's kustomization renames it, and for no other.
func TestRenamed(t *testing.T) {
	for _, settings := range []string{"", "namespace: other", "namePrefix: a-", "nameSuffix: -b", "namespace: other\nnamePrefix: a-\nnameSuffix: -b"} {
		r := render(t, settings)
		account := all[*corev1.ServiceAccount](r)[0]
		pod := all[*appsv1.DaemonSet](r)[0].Spec.Template.Spec
		require.Equal(t, account.Name, pod.ServiceAccountName, settings)
		bound := map[string]bool{}
		for _, b := range all[*admissionv1.ValidatingAdmissionPolicyBinding](r) {
			bound[b.Spec.PolicyName] = true
		}
		policies := all[*admissionv1.ValidatingAdmissionPolicy](r)
		require.Len(t, policies, 3)
		for _, p := range policies {
			assert.True(t, bound[p.Name], "%s: no binding names %s", settings, p.Name)
			require.Len(t, p.Spec.MatchConditions, 1)
			matches := regexp.MustCompile(`^request\.userInfo\.username\.matches\('(.*)'\)$`).FindStringSubmatch(p.Spec.MatchConditions[0].Expression)
			require.NotNil(t, matches, p.Spec.MatchConditions[0].Expression)
			who := regexp.MustCompile(matches[1])
			assert.True(t, who.MatchString("system:serviceaccount:"+account.Namespace+":"+account.Name), settings)
			for _, other := range []string{"multibond-agent", "system:serviceaccount:multibond-agent:default", "system:serviceaccount:multibond-system:default", "system:node:multibond-agent"} {
				assert.False(t, who.MatchString(other), other)
			}
		}
	}
}

// TestWithout checks what the components leave out.
func TestWithout(t *testing.T) {
	all := kindsOf(render(t, ""))
	for component, kinds := range map[string][]string{
		"crd":         {"CustomResourceDefinition"},
		"node-tokens": {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"},
	} {
		got := kindsOf(render(t, "components: [../deploy/without/"+component+"]"))
		for kind, n := range all {
			if slices.Contains(kinds, kind) {
				n = 0
			}
			assert.Equal(t, n, got[kind], "without %s: %s", component, kind)
		}
	}
}
