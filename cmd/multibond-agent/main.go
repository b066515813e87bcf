// multibond-agent tells the CNI plugin of its node the networks of a pod, and
// publishes the outcome. It needs no privileges, only API credentials, the kubelet's
// socket and two directories.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/kubeclient"
)

// releaseVersion is set by the linker.
var releaseVersion = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// run is main with its environment as arguments. It returns the exit code, which is 2
// for invalid flags.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	if len(args) > 0 && verbs[args[0]] != nil {
		return runVerb(ctx, args[0], args[1:], stderr)
	}
	if len(args) > 0 && args[0] == "check" {
		if err := check(args[1:], os.Stdin, stdout); err != nil {
			fmt.Fprintln(stderr, "multibond-agent check:", err)
			return 1
		}
		return 0
	}
	if len(args) > 0 && args[0] == "measure" {
		return measured(ctx, args[1:], stdout, stderr)
	}
	o, level, err := parse(args, getenv, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errVersion):
		fmt.Fprintln(stdout, "multibond-agent", releaseVersion)
		return 0
	case err != nil:
		return 2 // parse has reported it
	}
	o.Log = slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: level}))
	kubeclient.UseLog(o.Log)
	agent, err := kubeclient.NewAgent(o)
	if err == nil {
		o.Log.Info("multibond-agent started", "version", releaseVersion, "node", o.Node, "socket", o.Socket)
		err = agent.Run(ctx)
	}
	if err != nil {
		o.Log.Error("multibond-agent stopped", "error", err)
		return 1
	}
	o.Log.Info("multibond-agent stopped")
	return 0
}

// verbs install Multibond on the node of this container, uninstall it, serve the agent's
// metrics, and serve admission webhooks.
var verbs = map[string]func(context.Context, []string, io.Writer, *slog.Logger) error{
	"install": install, "uninstall": uninstall, "metrics": serveMetrics, "webhook": serveWebhook,
}

func runVerb(ctx context.Context, verb string, args []string, stderr io.Writer) int {
	log := slog.New(slog.NewJSONHandler(stderr, nil))
	err := verbs[verb](ctx, args, stderr, log)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		log.Error("multibond-agent "+verb, "error", err)
		return 1
	}
	return 0
}

// errVersion is returned by parse if only the version was asked for.
var errVersion = errors.New("version asked for")

// parse parses the flags.
func parse(args []string, getenv func(string) string, usage io.Writer) (o kubeclient.Options, level slog.Level, err error) {
	flags := flag.NewFlagSet("multibond-agent", flag.ContinueOnError)
	flags.SetOutput(usage)
	text := func(into *string, name, value, what string) { flags.StringVar(into, name, value, what) }
	text(&o.Node, "node-name", getenv("NODE_NAME"), "`name` of the node in the API (default: the environment variable NODE_NAME)")
	text(&o.Kubeconfig, "kubeconfig", "", "kubeconfig `file` for the API server (default: the pod's service account)")
	text(&o.Socket, "socket", "/run/multibond/agent.sock", "unix `socket` for the plugin; only root gets access to its directory")
	text(&o.StateDir, "state-dir", "/run/multibond/queue", "`directory` of outcomes that are not published yet; not needed after a reboot")
	text(&o.Listen, "listen", "127.0.0.1:9476", "`address` of /metrics, /healthz and /readyz; empty for none")
	text(&o.Kubelet.Socket, "kubelet-socket", "/var/lib/kubelet/pod-resources/kubelet.sock", "the kubelet's PodResources `socket`")
	text(&o.Kubelet.Checkpoint, "kubelet-checkpoint", "/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint", "the kubelet's `file` of device allocations, used if PodResources has no answer")
	flags.DurationVar(&o.Kubelet.Timeout, "kubelet-timeout", 10*time.Second, "how long to wait for the kubelet's answer")
	text(&o.Machine.DeviceInfoDir, "device-info-dir", "/var/run/k8s.cni.cncf.io/devinfo", "`directory` of device-info files")
	sysfs := flags.String("sysfs", "/sys", "`directory` where sysfs is mounted")
	text(&o.ConfDir, "conf-dir", "/etc/cni/net.d", "the runtime's `directory` of CNI configurations: for NADs without a spec.config, and watched")
	bin := flags.String("bin-dir", "/opt/cni/bin", "`directory` of CNI plugins: the agent tells which are missing")
	records := flags.String("records-dir", "/var/lib/cni/multibond", "the plugin's `directory` of Records: the agent tells which need somebody")
	cluster := flags.String("cluster-config", "", "the cluster's configuration, a `file`: an event on the node tells if the plugin would refuse it")
	flags.TextVar(&level, "log-level", slog.LevelInfo, "lowest `level` to log: DEBUG, INFO, WARN or ERROR")
	version := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		return o, level, err
	}
	if *version {
		return o, level, errVersion
	}
	if flags.NArg() > 0 {
		err := fmt.Errorf("unexpected argument %q: all arguments are flags", flags.Arg(0))
		fmt.Fprintln(usage, "multibond-agent:", err)
		return o, level, err
	}
	if *cluster != "" {
		_, _, o.Misconfigured = readConfig(*cluster)
	}
	o.HostsFile = agentapi.HostsFile
	o.Machine.NICs = func() ([]bond.NIC, error) { return readNICs(os.DirFS(*sysfs)) }
	o.Version, o.Machine.Bin = releaseVersion, os.DirFS(*bin)
	o.Records = func() ([]kubeclient.Recorded, error) { return readRecords(*records) }
	o.Machine.Root, o.Machine.Sys, o.Machine.ConfDir, o.Machine.DeviceInfo = os.DirFS("/"), os.DirFS(*sysfs), os.DirFS(o.ConfDir), os.DirFS(o.Machine.DeviceInfoDir)
	return o, level, nil
}

// readNICs reads the NICs of the host, and its bonds and VLANs.
func readNICs(sys fs.FS) ([]bond.NIC, error) {
	host, err := bond.System{}.Host()
	if err != nil {
		return nil, err
	}
	defer host.Close()
	return bond.SurveyAddressed(sys, host)
}
