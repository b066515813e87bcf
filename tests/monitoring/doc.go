// Package monitoring tests what deploy/monitoring has for Prometheus and Grafana, with
// Prometheus' own parser, rules and engine: whether an alert fires on series as it should,
// and whether each query finds something among the metrics that an agent really has.
package monitoring
