package kubeclient

import (
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/cnierror"
	"github.com/multibond/multibond/delegate/netconf/confdir"
)

// Metrics are the Prometheus metrics of the agent.
type Metrics struct {
	registry  *prometheus.Registry
	lookups   *prometheus.HistogramVec
	publishes *prometheus.CounterVec
	untold    *prometheus.CounterVec
	failures  *prometheus.CounterVec
	steps     *prometheus.HistogramVec
	requests  *prometheus.CounterVec
	answers   *prometheus.CounterVec
	config    *prometheus.GaugeVec
	changes   prometheus.Counter
	givenUp   prometheus.Gauge
	routes    *prometheus.GaugeVec
}

// NewMetrics returns metrics in a registry of their own.
func NewMetrics() *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "multibond_" + name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "multibond_" + name, Help: help, Buckets: buckets}, labels)
	}
	gauge := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Name: "multibond_" + name, Help: help}
	}
	m := &Metrics{
		registry:  prometheus.NewRegistry(),
		lookups:   histogram("lookup_duration_seconds", "Time to find a pod's networks, including the kubelet's answer, by outcome: found, failed.", prometheus.ExponentialBuckets(0.0001, 4, 9), "outcome"),
		publishes: counter("publishes_total", "Outcomes: published, queued, dropped (its pod is gone), given_up (an event that was refused for an hour).", "outcome"),
		untold:    counter("bond_publish_failures_total", "Failures to publish how a bond is: status (network-status and condition, which are tried again), event (it is lost).", "what"),
		failures:  counter("failures_total", "Lookups, ADDs and DELs that failed, by reason.", "verb", "reason"),
		steps:     histogram("step_duration_seconds", "Duration of the steps of an ADD or DEL, by kind, as reported by the plugin.", prometheus.ExponentialBuckets(0.001, 2, 15), "verb", "step"),
		requests:  counter("api_requests_total", "Requests to the API server, except watches.", "verb", "resource"),
		answers:   counter("kubelet_answers_total", "Answers about the devices of a pod, by source: PodResources Get, PodResources List, checkpoint.", "source"),
		config:    prometheus.NewGaugeVec(gauge("runtime_config_state", "1 for what became of our configuration: used, absent, behind, changed, renamed, gone, extra or unknown; else 0."), []string{"state"}),
		changes:   prometheus.NewCounter(prometheus.CounterOpts{Name: "multibond_runtime_config_changes_total", Help: "Changes of what the runtime finds in its directory of configurations."}),
		givenUp:   prometheus.NewGauge(gauge("runtime_config_given_up", "1 if the keeper gave up putting our configuration back, because another program takes it away; else 0.")),
		routes:    prometheus.NewGaugeVec(gauge("host_routes", "Routes to the pods of other hosts, as keep told last, by state: set, waiting, failed."), []string{"state"}),
	}
	for _, outcome := range []string{"published", "queued", "dropped", "given_up"} {
		m.publishes.WithLabelValues(outcome) // an increase begins at 0
	}
	for _, what := range []string{"status", "event"} {
		m.untold.WithLabelValues(what)
	}
	m.registry.MustRegister(m.lookups, m.publishes, m.untold, m.failures, m.steps, m.requests, m.answers, m.config, m.changes, m.givenUp, m.routes,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// watchQueue adds a gauge of the pods whose outcome is not published yet.
func (m *Metrics) watchQueue(length func() int) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "multibond_publish_queue_length", Help: "Pods whose outcome is not published yet.",
	}, func() float64 { return float64(length()) }))
}

// hostRoutes shows how the routes to other hosts are.
func (m *Metrics) hostRoutes(r agentapi.Routes) {
	for state, n := range map[string]int{"set": r.Set, "waiting": r.Waiting, "failed": r.Failed} {
		m.routes.WithLabelValues(state).Set(float64(n))
	}
}

// standing shows what the runtime finds, and counts it if it is not what it found before.
func (m *Metrics) standing(s confdir.Standing, changed bool) {
	for _, state := range confdir.States {
		m.config.WithLabelValues(string(state)).Set(oneIf(state == s.State))
	}
	m.givenUp.Set(oneIf(s.GivenUp != ""))
	if changed {
		m.changes.Inc()
	}
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// reasons maps the codes of errors to values of the label reason.
var reasons = map[uint]string{
	types.ErrInvalidEnvironmentVariables: "environment",
	types.ErrInvalidNetworkConfig:        "configuration",
	types.ErrTryAgainLater:               "try_again",
	cnierror.Node:                        "node",
	cnierror.Delegate:                    "delegate",
	cnierror.Kernel:                      "kernel",
	cnierror.Restore:                     "restore",
	cnierror.Check:                       "check",
}

func reason(code uint) string {
	if name, known := reasons[code]; known {
		return name
	}
	return "other"
}

// lookedUp counts a lookup that began at start.
func (m *Metrics) lookedUp(start time.Time, err error) {
	outcome := "found"
	if err != nil {
		outcome = "failed"
		m.failures.WithLabelValues("lookup", reason(cnierror.Code(err))).Inc()
	}
	m.lookups.WithLabelValues(outcome).Observe(time.Since(start).Seconds())
}

// reported counts what the plugin reports about an ADD or DEL.
func (m *Metrics) reported(p agentapi.Publish) {
	verb := "other"
	if p.Verb == "ADD" || p.Verb == "DEL" {
		verb = strings.ToLower(p.Verb)
	}
	if p.Failure != nil {
		m.failures.WithLabelValues(verb, reason(p.Failure.Code)).Inc()
	}
	for _, s := range p.Steps {
		kind, _, _ := strings.Cut(s.What, " ") // "attach bond0-1" is a step of kind attach
		m.steps.WithLabelValues(verb, kind).Observe(s.Milliseconds / 1000)
	}
}
