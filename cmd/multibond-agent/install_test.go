package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/netconf/confdir"
	"github.com/multibond/multibond/delegate/plan"
	"github.com/multibond/multibond/delegate/record"
)

const clusterConfig = `{"cniVersion": "1.0.0", "name": "multibond", "plugins": [{"type": "multibond", "defaultNetwork": {}}]}`

// nodeDirs is a node without Multibond. It has a directory for each flag.
type nodeDirs struct {
	t                      *testing.T
	bin, conf, state, from string
	log                    bytes.Buffer
}

func newNodeDirs(t *testing.T) *nodeDirs {
	n := &nodeDirs{t: t, bin: t.TempDir(), conf: t.TempDir(), state: t.TempDir(), from: t.TempDir()}
	n.write(filepath.Join(n.from, "multibond"), "program 1")
	n.write(filepath.Join(n.from, "config"), clusterConfig)
	n.write(filepath.Join(n.conf, "10-default.conflist"), defaultConfig)
	return n
}

func (n *nodeDirs) write(name, text string) {
	n.t.Helper()
	require.NoError(n.t, os.WriteFile(name, []byte(text), 0o600))
}

// do runs a verb of the program and returns its exit code.
func (n *nodeDirs) do(ctx context.Context, verb string, more ...string) int {
	n.log.Reset()
	args := []string{verb, "-bin-dir", n.bin, "-conf-dir", n.conf}
	if verb == "install" {
		args = append(args, "-plugin", filepath.Join(n.from, "multibond"), "-config", filepath.Join(n.from, "config"))
	} else {
		args = append(args, "-state-dir", n.state, "-interval", "1ms", "-settle", "20ms")
	}
	return run(ctx, append(args, more...), func(string) string { return "" }, &n.log, &n.log)
}

func (n *nodeDirs) install(flags ...string) {
	n.t.Helper()
	require.Zero(n.t, n.do(n.t.Context(), "install", flags...), &n.log)
}

func (n *nodeDirs) uninstall(flags ...string) {
	n.t.Helper()
	require.Zero(n.t, n.do(n.t.Context(), "uninstall", flags...), &n.log)
}

// files lists the files of the node with their modes and contents.
func (n *nodeDirs) files() string {
	var lines []string
	for _, dir := range []string{n.bin, n.conf} {
		entries, err := os.ReadDir(dir)
		require.NoError(n.t, err)
		for _, e := range entries {
			info, _ := e.Info()
			data, _ := os.ReadFile(filepath.Join(dir, e.Name()))
			lines = append(lines, fmt.Sprintf("%s %o %s", e.Name(), info.Mode(), data))
		}
	}
	return strings.Join(lines, "\n")
}

func (n *nodeDirs) want(files, log string) {
	n.t.Helper()
	assert.Equal(n.t, files, n.files())
	assert.Contains(n.t, n.log.String(), log)
}

const (
	defaultConfig = `{"name": "default", "type": "bridge"}`

	before    = "10-default.conflist 600 " + defaultConfig
	mark      = ".00-multibond.conflist.installed 600 "
	installed = "multibond 755 program 1\n" + mark + clusterConfig + "\n00-multibond.conflist 600 " + clusterConfig + "\n" + before
)

func TestInstall(t *testing.T) {
	n := newNodeDirs(t)
	n.install()
	n.want(installed, `"changed":true`)
	n.install()
	n.want(installed, `"changed":false`)
	n.write(filepath.Join(n.from, "multibond"), "program 2")
	n.install()
	n.want(strings.Replace(installed, "program 1", "program 2", 1), `"changed":true`)
	n.uninstall()
	n.want(before, "uninstalled")
}

func TestInstallErrors(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*nodeDirs)
		text   string
	}{
		{"half a configuration", func(n *nodeDirs) { n.write(filepath.Join(n.from, "config"), clusterConfig[:40]) }, "unexpected end of JSON input"},
		{"no name", func(n *nodeDirs) { n.write(filepath.Join(n.from, "config"), `{"plugins": []}`) }, "is not a CNI configuration list with a name and plugins"},
		{"another plugin", func(n *nodeDirs) {
			n.write(filepath.Join(n.from, "config"), `{"name": "x", "plugins": [{"type": "multus"}]}`)
		}, "plugins[0].type is multus, want multibond"},
		{"a wrong key", func(n *nodeDirs) {
			n.write(filepath.Join(n.from, "config"), strings.Replace(clusterConfig, "defaultNetwork", "clusterNetwork", 1))
		}, "clusterNetwork: is an object, want a string"},
		{"no configuration", func(n *nodeDirs) { os.Remove(filepath.Join(n.from, "config")) }, "no such file or directory"},
		{"no plugin", func(n *nodeDirs) { os.Remove(filepath.Join(n.from, "multibond")) }, "no such file or directory"},
		{"no directory", func(n *nodeDirs) { n.bin = filepath.Join(n.bin, "none") }, "no such file or directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNodeDirs(t)
			bin := n.bin
			test.change(n)
			assert.Equal(t, 1, n.do(t.Context(), "install"))
			n.bin = bin
			n.want(before, test.text)
		})
	}
}

// TestInstallOverMistake checks that a mistake in the ConfigMap does not keep the agent from a
// node whose installed configuration is valid. The plugin is updated.
func TestInstallOverMistake(t *testing.T) {
	for name, spoil := range map[string]func(*nodeDirs){
		"a typo":       func(n *nodeDirs) { n.write(filepath.Join(n.from, "config"), clusterConfig[:40]) },
		"no ConfigMap": func(n *nodeDirs) { os.Remove(filepath.Join(n.from, "config")) },
		"a typo, and an earlier version has installed": func(n *nodeDirs) {
			n.write(filepath.Join(n.from, "config"), clusterConfig[:40])
			os.Remove(filepath.Join(n.conf, confdir.Installed))
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNodeDirs(t)
			n.install()
			with := n.files()
			spoil(n)
			n.write(filepath.Join(n.from, "multibond"), "program 2")
			n.install()
			n.want(strings.Replace(with, "program 1", "program 2", 1), `"level":"ERROR","msg":"the cluster's configuration is not installed`)
		})
	}
}

// TestInstallNotAllowed checks that the error of a directory that the installer may not write
// to tells what it needs.
func TestInstallNotAllowed(t *testing.T) {
	err := withHint(&fs.PathError{Op: "open", Path: "/opt/cni/bin/multibond", Err: unix.EACCES}, "/opt/cni/bin")
	require.ErrorIs(t, err, fs.ErrPermission)
	assert.ErrorContains(t, err, "DAC_OVERRIDE if /opt/cni/bin belongs to another user")
	assert.NoError(t, withHint(nil, ""))
}

// TestCheckFile checks a ConfigMap's text before it is applied.
func TestCheckFile(t *testing.T) {
	n := newNodeDirs(t)
	file := filepath.Join(n.from, "config")
	code, out, _ := call(t, nil, "check", file)
	assert.Zero(t, code)
	assert.Equal(t, "ok\n", out)
	n.write(file, strings.Replace(clusterConfig, `"defaultNetwork"`, `"defaultNetworkk"`, 1))
	code, out, said := call(t, nil, "check", file)
	assert.Equal(t, 1, code)
	assert.Empty(t, out)
	assert.Contains(t, said, file+": ")
	assert.Contains(t, said, "defaultNetworkk")
	n.write(file, strings.Replace(clusterConfig, `"defaultNetwork"`, `"kubeconfig": "/x", "defaultNetwork"`, 1))
	code, out, _ = call(t, nil, "check", file)
	assert.Zero(t, code)
	assert.Contains(t, out, "warning: ")
	for _, args := range [][]string{{"check"}, {"check", file, file}, {"check", filepath.Join(n.from, "none")}} {
		code, _, _ = call(t, nil, args...)
		assert.Equal(t, 1, code, args)
	}
}

// TestInstallNoRename checks that a plugin that does not get its name is not installed, and
// that nothing is left of it.
func TestInstallNoRename(t *testing.T) {
	n := newNodeDirs(t)
	require.NoError(t, os.Mkdir(filepath.Join(n.bin, "multibond"), 0o700))
	with := n.files()
	assert.Equal(t, 1, n.do(t.Context(), "install"))
	n.want(with, "/multibond: file exists")
}

// TestUnreadableDirectory checks that the warning about a directory that cannot be
// read names it.
func TestUnreadableDirectory(t *testing.T) {
	var out bytes.Buffer
	place{confDir: "/nonexistent/net.d"}.warn(netconf.Cluster{}, slog.New(slog.NewTextHandler(&out, nil)))
	assert.Contains(t, out.String(), `directory=/nonexistent/net.d error="the configuration directory: no such file or directory"`)
}

// TestInstallWarnings checks that install warns about what would keep pods from their
// networks, and still succeeds.
func TestInstallWarnings(t *testing.T) {
	const none = "there is no default network yet"
	for _, test := range []struct {
		name, file, text string
		words            string // empty for no warning
	}{
		{"beside Multus", "00-multus.conf", `{"name": "multus", "type": "multus"}`, ""},
		{"one before ours", "00-aaa.conf", defaultConfig, "00-aaa.conf"},
		{"no default network", "10-default.conflist", "", none},
		{"only loopback", "10-default.conflist", `{"name": "lo", "type": "loopback"}`, none},
		{"CRI-O's bridge", "10-default.conflist", `{"name": "crio", "plugins": [{"type": "bridge"}]}`, `"network":"crio"`},
		{"half a default network", "10-default.conflist", defaultConfig[:9], none},
		{"a name that is not there", "", "", "no file in the configuration directory has the name other"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNodeDirs(t)
			switch {
			case test.file == "":
				n.write(filepath.Join(n.from, "config"), strings.Replace(clusterConfig, `{}`, `{"name": "other"}`, 1))
			case test.text == "":
				os.Remove(filepath.Join(n.conf, test.file))
			default:
				n.write(filepath.Join(n.conf, test.file), test.text)
			}
			n.install()
			assert.FileExists(t, filepath.Join(n.conf, configName))
			assert.Equal(t, test.words != "", strings.Contains(n.log.String(), "WARN"), &n.log)
			assert.Contains(t, n.log.String(), test.words)
		})
	}
}

// TestInstallComparesDirectories checks that install warns if the plugin looks for the default
// network in another directory of the node than the runtime's. A file of its own is in any
// directory.
func TestInstallComparesDirectories(t *testing.T) {
	for _, test := range []struct {
		name, network, runtime string
		want                   string // empty for no warning
	}{
		{"the default", `"defaultNetwork": {}`, "/etc/cni/net.d/", ""},
		{"not known", `"defaultNetwork": {"confDir": "/etc/cni/net.d"}`, "", ""},
		{"k3s, with upstream's ConfigMap", `"defaultNetwork": {}`, "/var/lib/rancher/k3s/agent/etc/cni/net.d", `"confDir":"/etc/cni/net.d","runtime":"/var/lib/rancher/k3s/agent/etc/cni/net.d"`},
		{"upstream, with k3s' ConfigMap", `"defaultNetwork": {"confDir": "/var/lib/rancher/k3s/agent/etc/cni/net.d"}`, "/etc/cni/net.d", `"confDir":"/var/lib/rancher/k3s/agent/etc/cni/net.d","runtime":"/etc/cni/net.d"`},
		{"a file", `"clusterNetwork": "/etc/kubernetes/default.conflist"`, "/var/lib/rancher/k3s/agent/etc/cni/net.d", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNodeDirs(t)
			n.write(filepath.Join(n.from, "config"), strings.Replace(clusterConfig, `"defaultNetwork": {}`, test.network, 1))
			n.install("-host-conf-dir", test.runtime)
			assert.Equal(t, test.want != "", strings.Contains(n.log.String(), "another directory than the container runtime's"), &n.log)
			assert.Contains(t, n.log.String(), test.want)
		})
	}
}

// TestInstallBesideMultus checks that without a configuration only the plugin is installed.
func TestInstallBesideMultus(t *testing.T) {
	n := newNodeDirs(t)
	n.install("-config", "")
	n.want("multibond 755 program 1\n"+before, `"changed":true`)
	// As in a migration from Multus, node by node.
	n.write(filepath.Join(n.conf, configName), clusterConfig)
	n.install("-config", "", "-state-dir", n.state)
	n.want(strings.Replace(installed, mark+clusterConfig+"\n", "", 1), "a configuration that this installer has not written")
}

// TestInstallBesideMultusLater switches from primary to beside Multus: the configuration
// would go on sorting first. It stays while pods need it.
func TestInstallBesideMultusLater(t *testing.T) {
	n := newNodeDirs(t)
	n.install()
	end := n.withRecord("bonded", bond.Spec{Name: "eth0"}, "eth0")
	kept := strings.Replace(installed, mark+clusterConfig, mark, 1)
	n.install("-config", "")
	n.want(kept, "it is not known which pods need it")
	n.install("-config", "", "-state-dir", filepath.Join(n.state, "none"))
	n.want(kept, "it is not known which pods need it")
	n.install("-config", "", "-state-dir", n.state)
	n.want(kept, "pods with additional networks need it: demo/bonded")
	end()
	n.install("-config", "", "-state-dir", n.state)
	n.want("multibond 755 program 1\n"+before, `"msg":"removed"`)
}

// chain appends a plugin to the runtime's first configuration, as istio-cni's installer does:
// it decodes the file, and writes it anew with other blanks and another order of keys.
func (n *nodeDirs) chain(plugin string) {
	n.t.Helper()
	name := filepath.Join(n.conf, configName)
	text, err := os.ReadFile(name)
	require.NoError(n.t, err)
	var list map[string]any
	require.NoError(n.t, json.Unmarshal(text, &list))
	list["plugins"] = append(list["plugins"].([]any), map[string]any{"type": plugin, "log_level": "info"})
	text, err = json.MarshalIndent(list, "", "  ")
	require.NoError(n.t, err)
	n.write(name, string(text))
}

// plugins lists the types of the plugins of the installed configuration.
func (n *nodeDirs) plugins() (types []string) {
	n.t.Helper()
	text, err := os.ReadFile(filepath.Join(n.conf, configName))
	require.NoError(n.t, err)
	var list struct{ Plugins []struct{ Type string } }
	require.NoError(n.t, json.Unmarshal(text, &list))
	for _, p := range list.Plugins {
		types = append(types, p.Type)
	}
	return types
}

// TestInstallChained checks that the plugins that service meshes append to our
// configuration survive the installer's next start, also if the cluster's configuration
// has changed, and that plugins that the administrator took out go.
func TestInstallChained(t *testing.T) {
	n := newNodeDirs(t)
	tuned := strings.Replace(clusterConfig, "}]}", `}, {"type": "tuning"}]}`, 1)
	n.write(filepath.Join(n.from, "config"), tuned)
	n.install()
	n.chain("istio-cni")
	n.chain("linkerd-cni")
	with := n.files()
	n.install()
	n.want(with, "istio-cni")
	n.write(filepath.Join(n.from, "config"), strings.Replace(tuned, "{}", `{"name": "default"}`, 1))
	n.install()
	assert.Equal(t, []string{"multibond", "tuning", "istio-cni", "linkerd-cni"}, n.plugins())
	assert.Contains(t, n.files(), `{"name": "default"}`)
	n.write(filepath.Join(n.from, "config"), clusterConfig)
	n.install()
	assert.Equal(t, []string{"multibond", "istio-cni", "linkerd-cni"}, n.plugins())
	n.uninstall()
	n.want(before, "uninstalled")
}

// TestInstallOverHalfAFile checks that what is no configuration is replaced.
func TestInstallOverHalfAFile(t *testing.T) {
	n := newNodeDirs(t)
	n.write(filepath.Join(n.conf, configName), clusterConfig[:40])
	n.install()
	n.want(installed, `"changed":true`)
}

// TestInstallRepairs checks that a plugin that is not executable is replaced, and that
// what a killed installation left is removed.
func TestInstallRepairs(t *testing.T) {
	n := newNodeDirs(t)
	n.install()
	require.NoError(t, os.Chmod(filepath.Join(n.bin, "multibond"), 0o600))
	n.write(filepath.Join(n.bin, ".multibond-1.new"), "half")
	n.write(filepath.Join(n.conf, ".multibond-1.new"), "half")
	n.write(filepath.Join(n.conf, "."+configName+".out"), clusterConfig)
	n.install()
	n.want(installed, `"changed":true`)
}

// TestInstallRunning checks that a plugin can be replaced while it runs.
func TestInstallRunning(t *testing.T) {
	n := newNodeDirs(t)
	sleep, err := os.ReadFile("/bin/sleep")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(n.bin, "multibond"), sleep, 0o755))
	running := exec.CommandContext(t.Context(), filepath.Join(n.bin, "multibond"), "60")
	require.NoError(t, running.Start())
	defer func() { _ = running.Process.Kill(); _ = running.Wait() }()
	n.install()
	n.want(installed, `"changed":true`)
}

// withRecord stores the Record of a pod's attachment.
func (n *nodeDirs) withRecord(container string, b bond.Spec, names ...string) (end func()) {
	n.t.Helper()
	store := record.Store{Dir: n.state}
	r := &record.Record{Version: 1, Plan: plan.Plan{ContainerID: container, IfName: names[0], Bond: b,
		Group: plan.Group{Network: "multibond", IfNames: names, Pod: agentapi.Pod{Namespace: "demo", Name: container, UID: "1"}}}}
	require.NoError(n.t, store.Begin(r))
	return func() {
		n.t.Helper()
		require.NoError(n.t, store.End(r))
	}
}

// TestUninstallWaits checks that everything stays while a pod has a bond, because its
// DEL needs the plugin.
func TestUninstallWaits(t *testing.T) {
	n := newNodeDirs(t)
	n.install()
	n.withRecord("plain", bond.Spec{}, "eth0")
	end := n.withRecord("bonded", bond.Spec{Name: "eth0"}, "eth0")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	assert.Equal(t, 1, n.do(ctx, "uninstall"))
	n.want(installed, "pods still have additional networks: demo/bonded")
	assert.NotContains(t, n.log.String(), "demo/plain", "it waits for a pod that the default network's plugins release")
	end()
	n.uninstall()
	n.want(before, "uninstalled")
}

func TestUninstallForced(t *testing.T) {
	n := newNodeDirs(t)
	n.install()
	n.withRecord("bonded", bond.Spec{Name: "eth0"}, "eth0")
	n.uninstall("-force", "-settle", "1h")
	n.want(before, "uninstalled")
}

// TestUninstallSteps has an ADD that writes its Record after the configuration is
// gone, and an agent that starts and installs again.
func TestUninstallSteps(t *testing.T) {
	n := newNodeDirs(t)
	n.install()
	u := uninstaller{from: place{n.bin, n.conf}, records: record.Store{Dir: n.state}, log: slog.New(slog.DiscardHandler)}
	const out = ".00-multibond.conflist.out 600 " + clusterConfig
	step := func(what string, done bool, files string) {
		t.Helper()
		got, err := u.step()
		require.NoError(t, err, what)
		assert.Equal(t, done, got, what)
		n.want(files, "")
	}
	isOut := "multibond 755 program 1\n" + out + "\n" + before
	step("no pod is there", false, isOut)
	end := n.withRecord("late", bond.Spec{Name: "eth0"}, "eth0")
	restored := strings.Replace(installed, mark+clusterConfig+"\n", "", 1) // nobody misses it when it goes again
	step("one was being made", false, restored)
	step("it is still there", false, restored)
	end()
	step("it is gone", false, isOut)
	step("a last look", false, isOut)
	step("nobody needs it", true, before)
	step("and again", true, before)
	n.install()
	step("an agent has installed again", false, isOut)
	u.settle = time.Hour
	step("a last look", false, isOut)
	step("it is too early", false, isOut)
}

// TestUninstallRefused checks that an uninstallation that has to begin in another way leaves
// the node as it is, and says how.
func TestUninstallRefused(t *testing.T) {
	n := newNodeDirs(t)
	n.install()
	assert.Equal(t, 1, n.do(t.Context(), "uninstall", "-refuse", "first: helm upgrade"))
	n.want(installed, "first: helm upgrade")
}

// TestUninstallWithoutATrace checks that uninstall is not done where it finds nothing, as with
// other paths than the installation's, unless it has removed that itself.
func TestUninstallWithoutATrace(t *testing.T) {
	n := newNodeDirs(t)
	begun := filepath.Join(t.TempDir(), "begun")
	for _, flags := range [][]string{nil, {"-force"}, {"-begun", begun}, {"-listen", "127.0.0.1:0"}} {
		assert.Equal(t, 1, n.do(t.Context(), "uninstall", flags...), flags)
		n.want(before, "nothing of Multibond")
	}
	n.install()
	n.uninstall("-begun", begun)
	n.want(before, "uninstalled")
	n.uninstall("-begun", begun)
	n.want(before, "uninstalled")
	for _, left := range []string{filepath.Join(n.bin, "multibond"), filepath.Join(n.conf, configName), filepath.Join(n.conf, "."+configName+".out")} {
		n.write(left, clusterConfig)
		n.uninstall()
		n.want(before, "uninstalled")
	}
}

// TestUninstallErrors checks that what cannot be read is reported.
func TestUninstallErrors(t *testing.T) {
	n := newNodeDirs(t)
	n.install()
	n.state = filepath.Join(n.from, "multibond") // a file
	assert.Equal(t, 1, n.do(t.Context(), "uninstall"))
	n.want(installed, "not a directory")
	for _, args := range []string{"more", "-settle=x"} {
		assert.Equal(t, 1, n.do(t.Context(), "uninstall", args), args)
	}
}

// TestUninstallReady checks that the address reports whether uninstall is done.
func TestUninstallReady(t *testing.T) {
	n := newNodeDirs(t)
	n.install()
	end := n.withRecord("bonded", bond.Spec{Name: "eth0"}, "eth0")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	code := make(chan int)
	go func() { code <- n.do(ctx, "uninstall", "-listen", address) }()
	await := func(status int) {
		t.Helper()
		require.Eventually(t, func() bool { return answers("http://"+address+"/readyz") == status }, 2*time.Minute, 10*time.Millisecond, "no answer %d", status)
	}
	await(http.StatusServiceUnavailable)
	end()
	await(http.StatusOK)
	cancel()
	assert.Zero(t, <-code)
	n.want(before, "uninstalled")
}

// TestDeployed checks that the program has all flags that the manifests use.
func TestDeployed(t *testing.T) {
	verbs := map[string]func(args []string) error{
		"daemonset.yaml":                            func(args []string) error { return install(t.Context(), args, io.Discard, nil) },
		"beside-multus/kustomization.yaml":          func(args []string) error { return install(t.Context(), args, io.Discard, nil) },
		"distributions/k3s/kustomization.yaml":      func(args []string) error { return install(t.Context(), args, io.Discard, nil) },
		"distributions/microk8s/kustomization.yaml": func(args []string) error { return install(t.Context(), args, io.Discard, nil) },
		"uninstall/kustomization.yaml":              func(args []string) error { return uninstall(t.Context(), args, io.Discard, nil) },
	}
	list := regexp.MustCompile(`(?m)(?:args|value): \[(-.*)\]}?$`)
	for file, verb := range verbs {
		text, err := os.ReadFile(filepath.Join("..", "..", "deploy", file))
		require.NoError(t, err)
		found := list.FindSubmatch(text)
		require.NotNil(t, found, "the arguments in %s", file)
		// The flag for help comes last, so that all others are parsed before it.
		args := append(strings.Split(string(found[1]), ", "), "-h")
		assert.ErrorIs(t, verb(args), flag.ErrHelp, "%s: %v", file, args)
	}
}
