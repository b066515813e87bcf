package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
)

// Report is build/report/demo.json. What the demo did not get to has its zero value.
type Report struct {
	Error  string            `json:"error,omitempty"`
	Fields map[string]string `json:"fields"`
	Kernel string            `json:"kernel"`
	WallS  float64           `json:"wall_s"`

	Links      []Link    `json:"links"`
	Mode       string    `json:"mode"`
	PingBefore bool      `json:"ping_before"`
	AddMS      float64   `json:"add_ms"`
	DelMS      float64   `json:"del_ms"`
	AddsMS     []float64 `json:"adds_ms"`
	DelsMS     []float64 `json:"dels_ms"`

	FailoverMS  float64  `json:"failover_ms"`
	PacketsSent int      `json:"packets_sent"`
	PacketsLost int      `json:"packets_lost"`
	PauseMS     float64  `json:"probe_pause_ms"`
	Timeline    []Moment `json:"timeline"`

	SilentFailoverMS  float64  `json:"silent_failover_ms"`
	SilentPacketsSent int      `json:"silent_packets_sent"`
	SilentPacketsLost int      `json:"silent_packets_lost"`
	SilentPauseMS     float64  `json:"silent_probe_pause_ms"`
	SilentTimeline    []Moment `json:"silent_timeline"`

	VFsRestored   bool     `json:"vfs_restored"`
	VFDifferences []string `json:"vf_differences"`
	RecordsLeft   int      `json:"records_left"`
	BondsLeft     []string `json:"bonds_left"`
	AddressesLeft []string `json:"addresses_left"`
}

// Link is a link of a bond.
type Link struct {
	Pod  string `json:"pod"`
	Name string `json:"name"`
	PCI  string `json:"pci"`
	PF   string `json:"pf"`
}

// fieldDocs defines every field of the report; the report has it with it.
var fieldDocs = map[string]string{
	"error":                 "why the demo failed; absent if it succeeded",
	"kernel":                "the guest's kernel release",
	"wall_s":                "the demo's own time, from its start to this report, with the boot; s",
	"links":                 "the links of both bonds as the kernel has them in the pods: interface, PCI address, PF",
	"mode":                  "the bonds' mode as the kernel has it",
	"ping_before":           "5 echo requests from pod 1 to pod 2 got at least one answer before anything was broken",
	"add_ms":                "median of adds_ms",
	"del_ms":                "median of dels_ms",
	"adds_ms":               "each ADD (2 VFs, bond, IPAM), from the start of the plugin to its end as the host sees it; ms, on an emulated processor",
	"dels_ms":               "each DEL, likewise",
	"failover_ms":           "PF 1 set down, bonds with miimon 100: time from the last answered echo before the gap to the first answered one after it. The gap is the longest time between two answers of which the second came after the fault; ms",
	"packets_sent":          "echo requests of that experiment, one every 10 ms, from before the fault until traffic was back for 100 answers",
	"packets_lost":          "those of packets_sent that never got an answer, up to 1 s after the last was sent",
	"probe_pause_ms":        "the longest part of failover_ms in which not even the probe ran, because a driver or the host kept the processors busy; packets that were not sent are not counted as lost",
	"timeline":              "what happened, in ms after the start of the command that set the PF down; links are looked at every 5 ms",
	"silent_failover_ms":    "as failover_ms, for PF 2's cable pulled, which its VFs do not notice: bonds with arpInterval 100, arpValidate all",
	"silent_packets_sent":   "as packets_sent, for that",
	"silent_packets_lost":   "as packets_lost, for that",
	"silent_probe_pause_ms": "as probe_pause_ms, for that",
	"silent_timeline":       "as timeline, in ms after the PF was first seen without a carrier, which is a little after the cable was pulled",
	"vfs_restored":          "every VF of every PF has the namespace, name, MAC, MTU, state, admin MAC, vlan, spoofchk, trust and link-state that it had before the first ADD",
	"vf_differences":        "what is not as before",
	"records_left":          "files /var/lib/cni/multibond/*.json after the last DEL",
	"bonds_left":            "bonds in the host's namespace and the pods' after the last DEL",
	"addresses_left":        "addresses that host-local still has given out after the last DEL",
}

// write writes the report for machines; its directory is made.
func (r Report) write(file string) error {
	r.Fields = fieldDocs
	r.AddMS, r.DelMS = median(r.AddsMS), median(r.DelsMS)
	for _, list := range []*[]string{&r.VFDifferences, &r.BondsLeft, &r.AddressesLeft} {
		if *list == nil {
			*list = []string{} // none, and not null
		}
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}

// median is 0 for no values.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
