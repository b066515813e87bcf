package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/multibond/multibond/delegate/atomicfile"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/delegate/netconf/confdir"
	"github.com/multibond/multibond/delegate/strictjson"
)

const configName = confdir.Ours

// place has the directories of the CNI plugins and configurations of a node.
type place struct {
	binDir, confDir string
}

func (p *place) flags(name string, usage io.Writer) *flag.FlagSet {
	flags := flag.NewFlagSet("multibond-agent "+name, flag.ContinueOnError)
	flags.SetOutput(usage)
	flags.StringVar(&p.binDir, "bin-dir", "/host/opt/cni/bin", "the node's `directory` of CNI plugins")
	flags.StringVar(&p.confDir, "conf-dir", "/host/etc/cni/net.d", "the node's `directory` of CNI configurations")
	return flags
}

func (p place) plugin() string { return filepath.Join(p.binDir, "multibond") }
func (p place) config() string { return filepath.Join(p.confDir, configName) }
func (p place) mark() string   { return filepath.Join(p.confDir, confdir.Installed) }

// install writes the plugin to the node and then the cluster's configuration, each
// atomically. They stay when the agent ends: pods that start in the meantime must not
// come up without their networks.
func install(ctx context.Context, args []string, usage io.Writer, log *slog.Logger) error {
	var to place
	flags := to.flags("install", usage)
	plugin := flags.String("plugin", "/multibond", "the plugin, a `file`")
	config := flags.String("config", "/etc/multibond/"+configName, "the cluster's configuration, a `file`; empty if another meta plugin calls Multibond")
	bond := flags.Bool("bond", false, "answer to type bond too, as bond-cni does, unless the node has another program of that name")
	state := flags.String("state-dir", "", "the plugin's state, a `directory`; with an empty -config, an earlier configuration is removed once no pod needs it")
	hostDir := flags.String("host-conf-dir", "", "where -conf-dir is on the node, a `directory`, to compare it with the configuration's defaultNetwork.confDir")
	keeps := flags.Bool("keep", false, "keep running, and put the configuration back when another program renames, changes or removes it")
	replaceBond := flags.Bool("replace-bond", false, "like -bond, but replace another program of that name; it is kept, and uninstall restores it")
	if err := parseAll(flags, args); err != nil {
		return err
	}
	program, err := os.ReadFile(*plugin)
	if err != nil {
		return err
	}
	putPlugin := func() error {
		err := put(to.plugin(), program, 0o755, log)
		// Containers that type bond attached need it for their DEL.
		if err == nil && (*bond || *replaceBond || to.ownsBond()) {
			err = to.putBond(program, *replaceBond, log)
		}
		return err
	}
	if *config == "" {
		if *keeps {
			return errors.New("-keep needs a configuration (-config); beside another meta plugin there is none")
		}
		return errors.Join(putPlugin(), to.putNoConfig(*state, log))
	}
	text, cluster, err := readConfig(*config)
	if err != nil {
		if text, cluster, err = to.installed(err, log); err != nil {
			return err
		}
	}
	if err := putPlugin(); err != nil {
		return err
	}
	if err := to.putConfig(text, log); err != nil {
		return err
	}
	warnOfOtherDir(cluster, *hostDir, log)
	to.warn(cluster, log)
	// An uninstallation that did not finish, and a keeper that gave up, left these.
	if err := (atomicfile.Files{}).Remove(to.out(), to.givenUp()); err != nil || !*keeps {
		return err
	}
	return keep(ctx, to, log)
}

// readConfig reads the cluster's configuration, and checks that the plugin accepts it.
func readConfig(name string) (text []byte, c netconf.Cluster, err error) {
	if text, err = os.ReadFile(name); err != nil {
		return nil, c, err
	}
	if c, err = checkConfig(text); err != nil {
		return nil, c, fmt.Errorf("%s: %w", name, err)
	}
	return text, c, nil
}

// installed returns the configuration that was installed before, in the place of one that
// is wrong: a mistake in the ConfigMap must not keep the agent from a node that works. The
// agent has an event for the mistake. Without such a configuration the error is wrong's.
func (p place) installed(wrong error, log *slog.Logger) (text []byte, c netconf.Cluster, err error) {
	before := p.mark()
	if !isFile(before) {
		before = p.config() // by an earlier version
	}
	if text, c, err = readConfig(before); err != nil {
		return nil, c, wrong
	}
	log.Error("the cluster's configuration is not installed; the one that was installed before stays (correct the ConfigMap and restart the DaemonSet)", "error", wrong)
	return text, c, nil
}

// check checks a cluster's configuration before it is applied: a file as the installer
// writes it, or - for the standard input.
func check(args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) != 1 {
		return errors.New("want one argument: multibond-agent check FILE (- for the standard input)")
	}
	text, err := readAll(args[0], stdin)
	if err != nil {
		return err
	}
	c, err := checkConfig(text)
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	for _, w := range c.Warnings.Texts("network " + c.Name + ": ") {
		fmt.Fprintln(stdout, "warning:", w)
	}
	fmt.Fprintln(stdout, "ok")
	return nil
}

func readAll(name string, stdin io.Reader) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(name)
}

// put replaces a file and logs that.
func put(name string, data []byte, mode os.FileMode, log *slog.Logger) error {
	changed, err := replace(name, data, mode)
	if err == nil {
		log.Info("installed", "file", name, "changed", changed)
	}
	return withHint(err, filepath.Dir(name))
}

// withHint adds to the error of a directory that may not be written to what is needed.
func withHint(err error, dir string) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return fmt.Errorf("%w (the container install needs the capability DAC_OVERRIDE if %s belongs to another user, and the SELinux type spc_t where SELinux is enforced)", err, dir)
}

// parseAll parses flags and rejects any other argument.
func parseAll(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: all arguments are flags", flags.Arg(0))
	}
	return nil
}

// checkConfig checks that the plugin accepts the configuration as the runtime passes
// it on: the first plugin of the list, with the name of the list.
func checkConfig(text []byte) (c netconf.Cluster, err error) {
	var list struct {
		Name       string
		CNIVersion string
		Plugins    []map[string]any
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return c, err
	}
	if list.Name == "" || len(list.Plugins) == 0 {
		return c, errors.New("is not a CNI configuration list with a name and plugins")
	}
	ours := list.Plugins[0]
	if ours["type"] != "multibond" {
		return c, fmt.Errorf("plugins[0].type is %v, want multibond", ours["type"])
	}
	ours["name"], ours["cniVersion"] = list.Name, list.CNIVersion
	return netconf.ParseCluster(strictjson.Encode(ours))
}

// temporary is the pattern for the names of files that are being written. No runtime
// reads such a name.
const temporary = ".multibond-*.new"

// replace writes a file under a name that no runtime reads, syncs it to disk and
// renames it, so that a running program is not overwritten and no reader sees a
// partial file. A file that does not change is left alone. It first removes what
// a killed installation left.
func replace(name string, data []byte, mode os.FileMode) (changed bool, err error) {
	dir := filepath.Dir(name)
	left, err := filepath.Glob(filepath.Join(dir, temporary))
	if err = errors.Join(err, atomicfile.Files{}.Remove(left...)); err != nil || isThere(name, data, mode) {
		return false, err
	}
	if err := (atomicfile.Files{}).ReplaceSynced(name, temporary, data, mode); err != nil {
		return false, err
	}
	// Renames keep their order over a power failure: the configuration does not
	// appear before its plugin.
	return true, atomicfile.Files{}.SyncDir(dir)
}

// isThere reports whether a file already has the content and the mode.
func isThere(name string, data []byte, mode os.FileMode) bool {
	info, err := os.Lstat(name)
	if err != nil || info.Mode() != mode {
		return false
	}
	old, err := os.ReadFile(name)
	return err == nil && bytes.Equal(old, data)
}

// warnOfOtherDir logs that the plugin looks for the default network in another directory of
// the node than the runtime's, hostDir. "": that is not known.
func warnOfOtherDir(c netconf.Cluster, hostDir string, log *slog.Logger) {
	if hostDir != "" && c.File == "" && filepath.Clean(c.ConfDir) != filepath.Clean(hostDir) {
		log.Warn("the plugin looks for the default network in another directory than the container runtime's; no pod starts if it has none there (correct defaultNetwork.confDir in the ConfigMap, or the volume cni-conf and -host-conf-dir)",
			"confDir", c.ConfDir, "runtime", hostDir)
	}
}

// warn logs what would keep pods from their networks on this node. It is no error,
// because the network plugin may be installed later.
func (p place) warn(c netconf.Cluster, log *slog.Logger) {
	files, err := confdir.Files(os.DirFS(p.confDir))
	if err != nil {
		log.Warn("the CNI configurations of this node cannot be read", "directory", p.confDir, "error", err)
		return
	}
	if files[0] != configName {
		log.Warn("the container runtime uses the first configuration by name, which is not Multibond's", "file", files[0])
	}
	if c.File != "" {
		return // the file is not mounted here
	}
	c.ConfDir = p.confDir
	raw, err := confdir.DefaultNetwork(c)
	if err != nil {
		log.Warn("there is no default network yet; no pod starts until there is one", "error", err)
		return
	}
	if name := netconf.NewConfig(raw).Name; c.DefaultName == "" && slices.Contains(foreignBridges, name) {
		log.Warn("the default network is the bridge of another container program, which does not connect nodes; remove its file, or name the default network in defaultNetwork", "network", name)
	}
}

// foreignBridges are the networks that packages of CRI-O and podman put into the directory.
var foreignBridges = []string{"crio", "podman"}
