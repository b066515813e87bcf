package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/multibond/multibond/tests/demo/event"
	"github.com/multibond/multibond/tests/lab"
)

// A trial breaks the link that carries a pod's traffic, and mends it again.
type trial struct {
	Mode    string `json:"mode"`
	Monitor string `json:"monitor"` // miimon, arp, ns
	Fault   string `json:"fault"`
	Peer    string `json:"peer"`   // router: on PF 3; pod: another one of this node
	Family  string `json:"family"` // IPv4, IPv6
	MACs    string `json:"macPolicy,omitempty"`
	Keep    bool   `json:"keep"` // multibond keep runs
}

// The faults of trials. Those that take the VF away are mended by making it anew, which
// helps a bond only if keep runs.
const (
	pfDown     = "PF down"
	cableOut   = "cable out"
	linkDown   = "link down"
	vfRemoved  = "VF removed"  // its driver is unbound, and bound again
	vfsRemoved = "VFs removed" // sriov_numvfs is set to 0, and to what it was
	pfRemoved  = "PF removed"  // its driver is unbound, and bound again, and it makes its VFs anew
)

const (
	sharedMAC = "shared" // a macPolicy

	routerAddress6 = "fd00:56:217::1"
	subnet6        = "fd00:56:217::/64"

	// longest is how long a trial waits for traffic that may never be whole again.
	longest = 12 * time.Second
	steady  = 100 // probes in succession with an answer make traffic whole
)

// trials are all that make failover does. Each fault is there with keep once in each mode.
func trials() (all []trial) {
	modes := []string{"active-backup", "balance-rr", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"}
	faults := []string{pfDown, cableOut, linkDown, vfRemoved}
	add := func(mode, monitor, fault, peer, family, macs string) {
		all = append(all, trial{mode, monitor, fault, peer, family, macs, false})
	}
	both := func(mode, fault string) {
		add(mode, "miimon", fault, "router", "IPv4", "")
		all = append(all, all[len(all)-1].withKeep())
	}
	for _, mode := range modes {
		for _, fault := range faults {
			both(mode, fault)
		}
	}
	both("active-backup", vfsRemoved)
	both("active-backup", pfRemoved)
	for _, fault := range faults {
		add("active-backup", "arp", fault, "router", "IPv4", "")
	}
	for _, mode := range modes[1:4] {
		add(mode, "arp", cableOut, "router", "IPv4", "")
	}
	add("active-backup", "miimon", pfDown, "router", "IPv6", "")
	add("active-backup", "miimon", linkDown, "router", "IPv6", "")
	add("active-backup", "arp", cableOut, "router", "IPv6", "")
	add("active-backup", "ns", cableOut, "router", "IPv6", "")
	add("active-backup", "ns", linkDown, "router", "IPv6", "")
	add("active-backup", "miimon", pfDown, "pod", "IPv4", "")
	add("active-backup", "arp", cableOut, "pod", "IPv4", "")
	add("active-backup", "miimon", linkDown, "router", "IPv4", sharedMAC)
	add("active-backup", "arp", cableOut, "router", "IPv6", sharedMAC)
	return all
}

// withKeep returns the same trial with keep.
func (t trial) withKeep() trial {
	t.Keep = true
	return t
}

// takesVF reports whether the pod loses its VF, and can only get another.
func (t trial) takesVF() bool {
	return t.Fault == vfRemoved || t.Fault == vfsRemoved || t.Fault == pfRemoved
}

func (t trial) String() string {
	mode := t.Mode
	if t.MACs != "" {
		mode += ", MAC " + t.MACs
	}
	name := fmt.Sprintf("%s, %s, %s; %s peer: %s", mode, t.Monitor, t.Family, t.Peer, t.Fault)
	if t.Keep {
		name += ", with keep"
	}
	return name
}

// config has addresses of both families. In all modes but active-backup the
// kernel changes the VFs' MACs, which needs trust.
func (t trial) config(devices ...string) config {
	c := newConfig(link1, devices...)
	switch t.Monitor {
	case "arp":
		c = watchPath(c)
	case "ns": // the same by neighbour solicitations
		c["arpInterval"], c["nsIp6Target"], c["arpValidate"] = 100, routerAddress6, "all"
	default:
		c = watchCarrier(c)
	}
	c["mode"] = t.Mode
	c["ipam"] = map[string]any{"type": "host-local", "ranges": []any{[]any{map[string]any{"subnet": subnet}}, []any{map[string]any{"subnet": subnet6}}}}
	switch t.Mode {
	case "balance-rr", "balance-xor", "broadcast", "802.3ad":
		delete(c, "primary")
	}
	if t.Mode != "active-backup" {
		delete(c, "arpValidate")
		c["delegate"] = map[string]any{"type": "sriov", "trust": "on", "spoofchk": "off"}
	}
	if t.Mode == "802.3ad" {
		c["allowLACP"] = true
	}
	if t.MACs != "" {
		c["macPolicy"] = t.MACs
	}
	return c
}

// Outage is what one change of the network cost.
type Outage struct {
	GapMS   float64 `json:"gapMS"`   // the longest time without an answer, from the change on
	LossMS  float64 `json:"lossMS"`  // from the change to when the last lost probe was sent
	Sent    int     `json:"sent"`    // probes, one every 10 ms
	Lost    int     `json:"lost"`    // those without any answer
	PauseMS float64 `json:"pauseMS"` // of the gap, the longest time in which the probe itself did not run
	Whole   bool    `json:"whole"`   // traffic was whole again at the end
}

// Result is what a trial showed.
type Result struct {
	trial
	Broken    string   `json:"broken"`       // the link that carried and was broken
	SaidMS    *float64 `json:"driverSaidMS"` // when the link's driver said that it has no carrier, from the start of the command that broke it; null: never
	Fault     Outage   `json:"outage"`       // of the fault
	Carries   []string `json:"carries"`      // the links that carried after it
	Said      string   `json:"bondSaid"`     // the bond's operational state then
	MACBefore string   `json:"macBefore"`    // the bond's, as the peer had it
	MACAfter  string   `json:"macAfter"`     // and after; "" where it has forgotten it
	Heard     int      `json:"announced"`    // gratuitous ARPs and neighbour advertisements of the pod that PF 3 heard in that time
	Mended    *Outage  `json:"mendedOutage"` // of mending it; null where it cannot be mended in the pod
	Back      []string `json:"carriesThen"`  // the links that carried after that
	Returned  *Return  `json:"returned"`     // how the VF came back; null where it was not taken, or keep did not run
	KeepSaid  []string `json:"keepSaid"`     // what keep printed
}

// bench is one trial under way.
type bench struct {
	guest    guest
	trial    trial
	pods     []*attachment
	recorder *recorder
	probes   []*lab.Process
	keep     *lab.Process
	peer     string // the address that is pinged
	mended   bool   // what was broken has been mended, or that was tried
	whole    struct{ broken, mended bool }
	result   Result
}

// try carries out one trial. The error says which part of it could not be done;
// that traffic stays away is a result.
func (d *demo) try(ctx context.Context, t trial) (Result, error) {
	b := &bench{guest: d.guest, trial: t, recorder: &recorder{}, peer: routerAddress, result: Result{trial: t}}
	b.pods = []*attachment{{guest: d.guest, pod: pod1, config: t.config("0000:01:10.0", "0000:02:10.0")}}
	if t.Family == "IPv6" {
		b.peer = routerAddress6
	}
	if t.Peer == "pod" {
		b.pods = append(b.pods, &attachment{guest: d.guest, pod: pod2, config: t.config("0000:01:10.2", "0000:02:10.2")})
	}
	err := b.startKeep(ctx)
	if err == nil {
		err = b.attach(ctx)
	}
	if err == nil {
		err = b.breakAndMend(ctx)
	}
	err = errors.Join(err, stopAll(ctx, b.guest, b.recorder, b.probes), b.detach(ctx), b.stopKeep())
	if err != nil {
		return b.result, fmt.Errorf("%s: %w", t, err)
	}
	b.measure()
	return b.result, nil
}

func (b *bench) attach(ctx context.Context) error {
	for _, a := range b.pods {
		if _, err := a.add(ctx); err != nil {
			return err
		}
	}
	for _, a := range b.pods {
		if err := a.settled(ctx); err != nil {
			return err
		}
	}
	if len(b.pods) > 1 {
		var err error
		if b.peer, err = b.pods[1].address(); err != nil {
			return err
		}
	}
	inPod := []string{"-ping", b.peer, "-watch", link1 + "/carrier", "-watch", link2 + "/carrier"}
	if b.trial.Keep && b.trial.takesVF() {
		inPod = append(inPod, "-watch", linksFile)
	}
	for where, args := range map[string][]string{
		pod1:   inPod,
		hostNS: {"-watch", "enp1s0/carrier", "-watch", "enp2s0/carrier", "-listen", routerPF},
	} {
		p, err := b.guest.vm.Start(ctx, lab.Cmd{Args: in(where, append([]string{probePath}, args...)...), Stdout: b.recorder.stream(where)})
		if err != nil {
			return err
		}
		b.probes = append(b.probes, p)
	}
	return b.recorder.wait(ctx, 2*time.Minute, func(events []event.Event) bool { return len(readyPIDs(events)) == 2 && whole(events, 0) })
}

func (b *bench) detach(ctx context.Context) error {
	var errs []error
	for _, a := range b.pods {
		if a.result != nil {
			_, err := a.del(ctx)
			errs = append(errs, err)
		}
	}
	if b.trial.takesVF() && b.result.Broken != "" && !b.mended {
		_, err := b.guest.run(ctx, "sh", "-c", b.commands()[1])
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// device is the VF of the link that is broken, pf and cable what it is at.
func (b *bench) device() string {
	return map[string]string{link1: "0000:01:10.0", link2: "0000:02:10.0"}[b.result.Broken]
}

func (b *bench) pf() string {
	return map[string]string{link1: "enp1s0", link2: "enp2s0"}[b.result.Broken]
}

func (b *bench) cable() int { return map[string]int{link1: 0, link2: 1}[b.result.Broken] }

func (b *bench) breakAndMend(ctx context.Context) (err error) {
	carrying, err := b.carrying(ctx)
	if err != nil {
		return err
	}
	if len(carrying) == 0 {
		return errors.New("no link carries anything")
	}
	b.result.Broken = carrying[0]
	b.result.MACBefore, _ = b.neighbour(ctx)
	if err := b.set(ctx, false); err != nil {
		return err
	}
	if b.whole.broken, err = b.awaitWhole(ctx, false); err != nil {
		return err
	}
	if b.result.Carries, err = b.carrying(ctx); err != nil {
		return err
	}
	said, err := b.guest.run(ctx, in(pod1, "cat", "/sys/class/net/"+bondName+"/operstate")...)
	if err != nil {
		return err
	}
	b.result.Said = strings.TrimSpace(string(said))
	b.result.MACAfter, _ = b.neighbour(ctx)
	if b.trial.takesVF() && !b.trial.Keep {
		return nil
	}
	b.mended = true
	if err := b.set(ctx, true); err != nil {
		return err
	}
	for _, a := range b.pods {
		if err := a.settled(ctx); err != nil {
			return err
		}
	}
	if b.whole.mended, err = b.awaitWhole(ctx, true); err != nil {
		return err
	}
	b.result.Back, err = b.carrying(ctx)
	return err
}

// set breaks the link, or mends it.
func (b *bench) set(ctx context.Context, up bool) error {
	if b.trial.Fault == cableOut {
		return b.guest.vm.Cable(b.cable(), up)
	}
	command := b.commands()[0]
	if up {
		command = b.commands()[1]
	}
	args := append([]string{probePath}, in(b.place(), "sh", "-c", command)...)
	_, err := b.guest.do(ctx, lab.Cmd{Args: args, Stdout: b.recorder.stream(hostNS), Timeout: time.Minute})
	return err
}

// place is where the commands are run.
func (b *bench) place() string {
	if b.trial.Fault == linkDown {
		return pod1
	}
	return hostNS
}

// commands are for the shell: what breaks the link, and what mends it. A PF must be up
// before it makes VFs, or they never have a carrier; udev names it.
func (b *bench) commands() [2]string {
	setLink := func(name string) [2]string {
		return [2]string{"ip link set " + name + " down", "ip link set " + name + " up"}
	}
	pf := map[string]string{link1: "0000:01:00.0", link2: "0000:02:00.0"}[b.result.Broken]
	vfs := fmt.Sprintf(" >/sys/bus/pci/devices/%s/sriov_numvfs", pf)
	const driver, vfDriver = " >/sys/bus/pci/drivers/igb/", " >/sys/bus/pci/drivers/igbvf/"
	switch b.trial.Fault {
	case pfDown:
		return setLink(b.pf())
	case linkDown:
		return setLink(b.result.Broken)
	case vfRemoved:
		return [2]string{"echo " + b.device() + vfDriver + "unbind", "echo " + b.device() + vfDriver + "bind"}
	case vfsRemoved:
		return [2]string{"echo 0" + vfs, fmt.Sprintf("echo %d%s", vfsOfPF, vfs)}
	default:
		up := "until ip link set " + b.pf() + " up 2>/dev/null; do sleep 0.05; done"
		return [2]string{"echo " + pf + driver + "unbind", fmt.Sprintf("echo %s%sbind; %s; echo %d%s", pf, driver, up, vfsOfPF, vfs)}
	}
}

// at finds when the link was broken, or mended.
func (b *bench) at(events []event.Event, mended bool) (int64, bool) {
	var moments []int64
	for _, e := range events {
		if e.Kind == event.Began {
			moments = append(moments, e.At)
		}
	}
	if b.trial.Fault == cableOut {
		for _, e := range changes(events) {
			if e.What == b.pf()+"/carrier" && (e.Value == "1") == (len(moments) == 1) {
				moments = append(moments, e.At)
			}
		}
	}
	n := 0
	if mended {
		n = 1
	}
	if len(moments) <= n {
		return 0, false
	}
	return moments[n], true
}

// awaitWhole waits until traffic is whole again after the fault or its end, and
// tells whether it was before the longest time had passed.
func (b *bench) awaitWhole(ctx context.Context, mended bool) (bool, error) {
	err := b.recorder.wait(ctx, longest, func(events []event.Event) bool {
		from, seen := b.at(events, mended)
		return seen && whole(events, from)
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		if _, seen := b.at(b.recorder.all(), mended); seen {
			return false, nil
		}
	}
	return err == nil, err
}

// whole tells whether so many probes in succession, sent after a time, have their
// answers, those of the last half second left out, which may be under way.
func whole(events []event.Event, from int64) bool {
	answered := map[int]bool{}
	var sent []event.Event
	var newest int64
	for _, e := range events {
		switch e.Kind {
		case event.Answered:
			answered[e.Probe] = true
		case event.Sent:
			newest = max(newest, e.At)
			sent = append(sent, e)
		}
	}
	n := 0
	for _, e := range slices.Backward(sent) {
		switch {
		case e.At < from:
			return false
		case newest-e.At < int64(500*time.Millisecond):
		case !answered[e.Probe]:
			return false
		default:
			n++
		}
		if n == steady {
			return true
		}
	}
	return false
}

// carrying are the links over which the pod's probes leave.
func (b *bench) carrying(ctx context.Context) (links []string, err error) {
	out, err := b.guest.run(ctx, in(pod1, "sh", "-c", `cd /sys/class/net; count() { cat $1/statistics/tx_packets 2>/dev/null || echo 0; }
		a=$(count `+link1+`) b=$(count `+link2+`); sleep 0.5; echo $(($(count `+link1+`) - a)) $(($(count `+link2+`) - b))`)...)
	if err != nil {
		return nil, err
	}
	var n1, n2 int
	if _, err := fmt.Sscan(string(out), &n1, &n2); err != nil {
		return nil, fmt.Errorf("%q: %w", out, err)
	}
	if n1 > 10 {
		links = append(links, link1)
	}
	if n2 > 10 {
		links = append(links, link2)
	}
	return links, nil
}

// neighbour is the MAC that the peer has for the pod.
func (b *bench) neighbour(ctx context.Context) (string, error) {
	var result struct{ IPs []struct{ Address string } }
	if err := json.Unmarshal(b.pods[0].result, &result); err != nil {
		return "", err
	}
	var entries []struct{ Dst, LLAddr string }
	where := hostNS
	if b.trial.Peer == "pod" {
		where = pod2
	}
	out, err := b.guest.run(ctx, in(where, "ip", "-json", "neigh", "show")...)
	if err != nil {
		return "", err
	}
	if err := json.Unmarshal(out, &entries); err != nil {
		return "", err
	}
	for _, e := range entries {
		for _, ip := range result.IPs {
			address, _, _ := strings.Cut(ip.Address, "/")
			if e.Dst == address && strings.Contains(address, ":") == (b.trial.Family == "IPv6") {
				return e.LLAddr, nil
			}
		}
	}
	return "", errors.New("the peer does not know the pod's MAC")
}

// measure reads the events, after the probes have ended.
func (b *bench) measure() {
	events := b.recorder.all()
	broken, _ := b.at(events, false)
	mended, wasMended := b.at(events, true)
	end := int64(1) << 62
	if wasMended {
		b.result.Mended = outage(events, mended, end)
		b.result.Mended.Whole = b.whole.mended
		b.result.Returned = returned(events, mended)
		end = mended
	}
	b.result.SaidMS = b.said(events, broken, end)
	b.result.Fault = *outage(events, broken, end)
	b.result.Fault.Whole = b.whole.broken
	for _, e := range events {
		if e.Kind == event.Heard && e.At >= broken && e.At < end {
			b.result.Heard++
		}
	}
}

// said is when the driver of the broken link said that it has no carrier.
func (b *bench) said(events []event.Event, from, to int64) *float64 {
	for _, e := range events {
		if e.Kind == event.Seen && e.What == b.result.Broken+"/carrier" && e.Value != "1" && e.At >= from && e.At < to {
			after := milliseconds(e.At - from)
			return &after
		}
	}
	return nil
}

// outage measures between two times. Whether traffic is whole is to be asked
// before the next change.
func outage(events []event.Event, from, to int64) *Outage {
	var o Outage
	answered := map[int]bool{}
	var sent, answers []int64
	for _, e := range events {
		if e.Kind == event.Answered {
			answered[e.Probe] = true
			answers = append(answers, e.At)
		}
	}
	for _, e := range events {
		if e.Kind != event.Sent || e.At < from || e.At >= to {
			continue
		}
		sent = append(sent, e.At)
		if o.Sent++; !answered[e.Probe] {
			o.Lost++
			o.LossMS = max(o.LossMS, milliseconds(e.At-from))
		}
	}
	slices.Sort(answers)
	slices.Sort(sent)
	last := from
	for _, at := range append(answers, sent[max(0, len(sent)-1):]...) {
		if at <= from {
			continue
		}
		if at < to && milliseconds(at-last) > o.GapMS {
			o.GapMS, o.PauseMS = milliseconds(at-last), milliseconds(pause(sent, last, at))
		}
		last = at
	}
	return &o
}
