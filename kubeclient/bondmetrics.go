package kubeclient

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/multibond/multibond/bond"
)

// The metrics of bonds. They are read from the table when they are asked for, and so are
// gone with the pod.
var (
	ofBond = []string{"namespace", "pod", "bond"}
	ofLink = append(ofBond[:len(ofBond):len(ofBond)], "link", "pf")

	bondInfo      = describeMetric("bond_info", "A bond of a pod: its network and its mode.", append(ofBond[:len(ofBond):len(ofBond)], "network", "mode")...)
	bondUp        = describeMetric("bond_up", "Whether a bond has a carrier: 1 or 0.", ofBond...)
	bondLinks     = describeMetric("bond_links", "How many links a bond has if none is missing.", ofBond...)
	bondLinksUp   = describeMetric("bond_links_up", "How many links of a bond work.", ofBond...)
	bondFailovers = describeMetric("bond_failovers_total", "How often the active link of a bond has changed, since the agent watches it.", ofBond...)
	linkUp        = describeMetric("bond_link_up", "Whether a link of a bond works: 1 or 0.", ofLink...)
	linkActive    = describeMetric("bond_link_active", "Whether a link of a bond carries traffic: 1 or 0.", ofLink...)
	linkFailures  = describeMetric("bond_link_failures_total", "How often a link of a bond has failed, since it is in the bond.", ofLink...)
	pfUp          = describeMetric("pf_up", "Whether a PF of a bond's link has a carrier: 1 or 0.", "pf")
	watching      = describeMetric("watching", "Whether the agent hears of the bonds of this node: 1, or 0 until the next ADD or STATUS.")
	eventsHeard   = describeMetric("watch_events_total", "Events of links that the agent has heard.")
	resyncsMade   = describeMetric("watch_resyncs_total", "How often the agent has learned anew how the bonds are.")
)

func describeMetric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("multibond_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (w *watcher) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{bondInfo, bondUp, bondLinks, bondLinksUp, bondFailovers, linkUp, linkActive, linkFailures, pfUp, watching, eventsHeard, resyncsMade} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (w *watcher) Collect(out chan<- prometheus.Metric) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hear()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	counter := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, value, labels...)
	}
	gauge(watching, number(w.socket != nil && !w.lost))
	counter(eventsHeard, float64(w.heard))
	counter(resyncsMade, float64(w.resyncs))
	pfs := map[string]bool{}
	for _, b := range w.table.sorted() {
		master, labels := w.table.master(b), []string{b.Pod.Namespace, b.Pod.Name, b.IfName}
		gauge(bondInfo, 1, append(labels, b.Network, master.Link.Options[bond.Mode])...)
		gauge(bondUp, number(master.Link.Carrier), labels...)
		gauge(bondLinks, float64(b.Wanted), labels...)
		gauge(bondLinksUp, float64(w.table.working(b)), labels...)
		counter(bondFailovers, float64(b.failovers), labels...)
		for _, l := range b.Links {
			m, there := w.table.member(b, l)
			of := append(labels[:len(labels):len(labels)], l.Name, l.PF)
			gauge(linkUp, number(w.table.works(b, l)), of...)
			gauge(linkActive, number(there && m.Active), of...)
			counter(linkFailures, float64(m.Failures), of...)
			if pf, known := w.table.pf(l); known {
				pfs[l.PF] = pf.Link.Carrier
			}
		}
	}
	for name, up := range pfs {
		gauge(pfUp, number(up), name)
	}
}

func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
