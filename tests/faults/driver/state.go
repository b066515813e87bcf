package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	binDir    = "/opt/cni/bin"
	wrapDir   = "/opt/cni/wrapped"
	stateDir  = "/var/lib/cni/multibond"
	confDir   = "/etc/cni/default.d"
	orders    = "/run/misbehave" // what the wrappers are to do, once
	bootID    = "/proc/sys/kernel/random/boot_id"
	fakeBoot  = "/run/boot_id"
	filler    = stateDir + "/filler"
	sandboxes = 5
)

// shell runs a script, which must work.
func shell(script string, args ...string) (string, error) {
	cmd := exec.Command("bash", append([]string{"-c", script, "bash"}, args...)...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s%s", script, err, said.String(), out.String())
	}
	return out.String(), nil
}

// wrapper stands before a plugin and misbehaves when it is told to.
const wrapper = `#!/bin/bash
name=${0##*/}
real=` + binDir + `/$name
order=` + orders + `/$name-$CNI_COMMAND
how=
if mv $order $order.$$ 2>/dev/null; then how=$(cat $order.$$); rm -f $order.$$; fi
says='{"code": 999, "msg": "it was told to fail"}'
case $how in
refuse) echo "$says"; exit 1 ;;
fail) $real >/dev/null; echo "$says"; exit 1 ;;
die) $real >/dev/null; kill -9 $$ ;;
garbage) $real >/dev/null; echo "no JSON" ;;
hang) $real >/dev/null; exec sleep 1000 ;;
killed*)
	input=$(cat)
	$real <<<"$input" & child=$!
	sleep ${how#killed }
	kill -9 $child 2>/dev/null
	wait $child ;;
vlan)
	input=$(cat); device=$(sed 's/.*"deviceID": *"\([^"]*\)".*/\1/' <<<"$input")
	$real <<<"$input"; status=$?
	for vf in /sys/class/net/*/device/virtfn*; do
		[ "$(basename $(readlink $vf))" = "$device" ] || continue
		pf=${vf#/sys/class/net/}; ip link set ${pf%%/*} vf ${vf##*virtfn} vlan 77
	done
	exit $status ;;
*) exec $real ;;
esac
`

// defaultNetwork is of the pods.
const defaultNetwork = `{"cniVersion": "1.0.0", "name": "default",
	"plugins": [{"type": "ptp", "ipam": {"type": "host-local", "subnet": "10.244.0.0/24"}}, {"type": "tuning"}]}`

// prepare makes what the rounds need: wrappers, a small disk for the Records, and
// a boot id that can be changed.
func prepare() error {
	for _, dir := range []string{wrapDir, orders, stateDir, confDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	boot, err := os.ReadFile(bootID)
	if err != nil {
		return err
	}
	_, mounted := shell("mount -t tmpfs -o size=2m none " + stateDir + " && mount --bind " + fakeBoot + " " + bootID)
	for _, plugin := range wrapped {
		if err := os.WriteFile(filepath.Join(wrapDir, plugin), []byte(wrapper), 0o755); err != nil {
			return err
		}
	}
	err = errors.Join(os.WriteFile(fakeBoot, boot, 0o644), os.WriteFile(filepath.Join(confDir, "10-default.conflist"), []byte(defaultNetwork), 0o644))
	if err != nil {
		return err
	}
	if mounted != nil {
		_, err = shell("mountpoint -q " + stateDir + " || mount -t tmpfs -o size=2m none " + stateDir + "; mount --bind " + fakeBoot + " " + bootID)
	}
	return err
}

// state lists all that an attachment can change, a line each: PFs, every VF by its
// device, what its PF keeps of it, its link state too, links that plugins have made,
// alternative names, which udev gives to a link with a name that is not its own, rules and
// routes, processes, and the files of Records, addresses and sriov-cni.
func state() ([]string, error) {
	vfs, err := filepath.Glob("/sys/class/net/*/device/virtfn*")
	if err != nil {
		return nil, err
	}
	lines := ofPFs()
	for _, vf := range vfs {
		lines = append(lines, ofVF(vf))
	}
	links, err := shell("ip -d -o link show; ip -all netns exec ip -d -o link show type bond")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(links) {
		index, rest, _ := strings.Cut(strings.TrimSpace(line), ": ")
		name, _, _ := strings.Cut(rest, ":")
		_, kept, isPF := strings.Cut(rest, `\    vf `)
		switch {
		case isPF:
			for i, vf := range strings.Split(kept, `\    vf `) {
				lines = append(lines, fmt.Sprintf("%s keeps of %d: %s", name, i, strings.TrimSpace(vf)))
			}
		case kinds.MatchString(rest):
			lines = append(lines, "link "+index+" "+name)
		}
		for _, other := range altName.FindAllString(rest, -1) {
			lines = append(lines, name+" has the "+other)
		}
	}
	routing, err := shell("ip rule; ip -6 rule; ip route show table all | grep -v 'fe80:\\|ff00:' || true")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(routing) {
		lines = append(lines, "routing: "+strings.TrimSpace(line))
	}
	files, err := ofFiles()
	return append(append(lines, files...), processes()...), err
}

// kinds matches a link that a plugin has made.
var kinds = regexp.MustCompile(` (bond|veth|macvlan|ipvlan) `)

var altName = regexp.MustCompile(`altname \S+`)

// ofPFs are the PFs, with their cables.
func ofPFs() (lines []string) {
	pfs, _ := filepath.Glob("/sys/class/net/*/device/sriov_numvfs")
	for _, file := range pfs {
		net := filepath.Dir(filepath.Dir(file))
		lines = append(lines, "PF"+ofLink(net, "address", "mtu", "flags", "carrier", "device/sriov_numvfs"))
	}
	return lines
}

// ofVF is a VF's interface on the host.
func ofVF(vf string) string {
	target, _ := os.Readlink(vf)
	nets, _ := filepath.Glob(vf + "/net/*")
	line := filepath.Base(target) + " is"
	for _, net := range nets {
		line += ofLink(net, "address", "mtu", "flags")
	}
	return line
}

// ofLink is what sysfs says of a link.
func ofLink(net string, files ...string) string {
	line := " " + filepath.Base(net)
	for _, what := range files {
		text, _ := os.ReadFile(filepath.Join(net, what))
		line += " " + strings.TrimSpace(string(text))
	}
	return line
}

// ofFiles are the files that plugins keep; of sriov-cni's, what is in them too.
func ofFiles() (lines []string, err error) {
	err = filepath.WalkDir("/var/lib/cni", func(path string, d fs.DirEntry, err error) error {
		name := filepath.Base(path)
		if err != nil || d.IsDir() || name == "lock" || filepath.Ext(name) == ".lock" || name == "ended" || strings.HasPrefix(name, "last_reserved") || strings.HasSuffix(name, ".damaged") {
			return err
		}
		text := []byte{}
		if strings.Contains(path, "/sriov/") {
			text, err = os.ReadFile(path)
		}
		lines = append(lines, strings.TrimSpace(path+" "+string(text)))
		return err
	})
	return lines, err
}

// processes are those that a call has left, keep excepted.
func processes() (lines []string) {
	names, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, file := range names {
		if command, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline")); bytes.Contains(command, []byte("\x00keep\x00")) {
			continue
		}
		text, _ := os.ReadFile(file) // it may have ended
		if name := strings.TrimSpace(string(text)); slices.Contains(append([]string{"multibond", "sleep"}, wrapped...), name) {
			lines = append(lines, "process "+name)
		}
	}
	return lines
}

// difference says what is not as before; it waits a little for the kernel, which
// ends namespaces when it has the time.
func difference(before []string, anew bool) string {
	if anew { // VFs that were made anew have other MACs
		before = withoutMACs(before)
	}
	var lines []string
	for limit := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		now, err := state()
		if err != nil {
			return err.Error()
		}
		if anew {
			now = withoutMACs(now)
		}
		lines = nil
		for _, line := range before {
			if !slices.Contains(now, line) {
				lines = append(lines, "- "+line)
			}
		}
		for _, line := range now {
			if !slices.Contains(before, line) {
				lines = append(lines, "+ "+line)
			}
		}
		if len(lines) == 0 || time.Now().After(limit) {
			return strings.Join(lines, "\n")
		}
	}
}

// makeVFs gives all PFs that have none their VFs. udev names them.
const makeVFs = `
for n in /sys/class/net/enp*/device/sriov_numvfs; do
	[ $(cat $n) -gt 0 ] || echo 2 >$n
done
for vf in /sys/class/net/enp*/device/virtfn*; do
	for i in $(seq 600); do [ -e $vf/driver ] && break; sleep 0.1; done
done
udevadm settle` + tellPFs

// tellPFs tells the PFs the MACs of VFs that are new, as the VFs do once they are set up.
// One that a Record names is keep's, or its DEL's.
const tellPFs = `
for vf in /sys/class/net/enp*/device/virtfn*; do
	pf=${vf#/sys/class/net/}; pf=${pf%%/*}; number=${vf##*virtfn}
	[ -e $vf/net/${pf}v$number ] || continue
	! grep -qs $(basename $(readlink $vf)) ` + stateDir + `/*.json || continue
	ip link set ${pf}v$number down
	mac=$(cat $vf/net/*/address)
	ip -o -d link show $pf | grep -q "vf $number  *link/ether $mac" || ip link set $pf vf $number mac $mac
done
true`

// remakeVFs takes all VFs away and makes them again, as an administrator does.
const remakeVFs = `
for n in /sys/class/net/enp*/device/sriov_numvfs; do [ $(cat $n) = 0 ] || echo 0 >$n; done` + makeVFs

// remakeVFsOf does the same for one PF, whose number is $1.
const remakeVFsOf = `
echo 0 >/sys/class/net/enp$1s0/device/sriov_numvfs` + makeVFs

// rebindVF takes the driver of a VF, $1, away and gives it back: its interface is a new one.
const rebindVF = `
echo $1 >/sys/bus/pci/devices/$1/driver/unbind; echo $1 >/sys/bus/pci/drivers/igbvf/bind
udevadm settle`

// rebindVFLate does the same while udev is busy with other things, for $2 milliseconds: until
// then the interface has the name that the kernel gave it.
const rebindVFLate = `
udevadm control --stop-exec-queue
echo $1 >/sys/bus/pci/devices/$1/driver/unbind; echo $1 >/sys/bus/pci/drivers/igbvf/bind
sleep $(printf '0.%03d' $2)
udevadm control --start-exec-queue
udevadm settle`

// rebindPF takes a PF's driver away and gives it back.
const rebindPF = `
pf=/sys/bus/pci/devices/0000:01:00.0
echo 0000:01:00.0 >$pf/driver/unbind
sleep 0.2
echo 0000:01:00.0 >/sys/bus/pci/drivers/igb/bind
for i in $(seq 600); do [ -d $pf/net ] && break; sleep 0.1; done
udevadm settle
ip link set enp1s0 up` + makeVFs

// startAnew makes everything clean by force, for another try of a round.
func (c *campaign) startAnew() error {
	c.keep.end()
	_, err := shell(`ip -all netns delete; mount -o remount,rw,size=2m ` + stateDir + `; rm -rf ` + stateDir + `/* /var/lib/cni/networks/* /var/lib/cni/sriov/* ` + orders + `/*; sleep 1` + remakeVFs)
	err = errors.Join(err, plugAll(), c.keep.start())
	if err == nil {
		c.before, err = state()
	}
	return err
}

// withoutMACs leaves out of a state what VFs get anew when they are made anew.
func withoutMACs(lines []string) (out []string) {
	for _, line := range lines {
		var words []string
		for word := range strings.FieldsSeq(line) {
			if strings.Count(word, ":") != 5 {
				words = append(words, word)
			}
		}
		out = append(out, strings.Join(words, " "))
	}
	return out
}
