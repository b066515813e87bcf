package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	binDir    = "/opt/cni/bin"
	wrapDir   = "/opt/cni/wrapped"
	stateDir  = "/var/lib/cni/multibond"
	orders    = "/run/misbehave" // what the wrappers are to do, once
	bootID    = "/proc/sys/kernel/random/boot_id"
	fakeBoot  = "/run/boot_id"
	filler    = stateDir + "/filler"
	sandboxes = 3
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

// prepare makes what the rounds need: wrappers, a small disk for the Records, and
// a boot id that can be changed.
func prepare() error {
	for _, dir := range []string{wrapDir, orders, stateDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	boot, err := os.ReadFile(bootID)
	if err != nil {
		return err
	}
	_, mounted := shell("mount -t tmpfs -o size=2m none " + stateDir + " && mount --bind " + fakeBoot + " " + bootID)
	err = errors.Join(os.WriteFile(filepath.Join(wrapDir, "sriov"), []byte(wrapper), 0o755), os.WriteFile(filepath.Join(wrapDir, "host-local"), []byte(wrapper), 0o755),
		os.WriteFile(fakeBoot, boot, 0o644))
	if err != nil {
		return err
	}
	if mounted != nil {
		_, err = shell("mountpoint -q " + stateDir + " || mount -t tmpfs -o size=2m none " + stateDir + "; mount --bind " + fakeBoot + " " + bootID)
	}
	return err
}

// stateScript lists all that an attachment can change, a line each: every VF by
// its device, what its PF keeps of it, bonds, and the files of Records, addresses
// and sriov-cni.
const stateScript = `
for vf in /sys/class/net/*/device/virtfn*; do
	device=$(basename $(readlink $vf))
	name=$(ls $vf/net 2>/dev/null)
	echo "$device ${name:-is not here} $(cat $vf/net/*/address $vf/net/*/mtu $vf/net/*/flags 2>/dev/null | tr '\n' ' ')"
done
ip -d link show | grep -E '^ +vf '
for ns in '' $(ip netns list | cut -d' ' -f1); do
	ip ${ns:+-n $ns} -o link show type bond | cut -d: -f2 | sed "s/^/bond $ns/"
done
find /var/lib/cni -type f ! -name lock ! -name 'last_reserved*' ! -name '*.damaged' | sort
find /var/lib/cni -path '*sriov*' -type f -exec cat {} + 2>/dev/null
true`

func state() ([]string, error) {
	out, err := shell(stateScript)
	return strings.Split(strings.TrimSpace(out), "\n"), err
}

// difference says what is not as before; it waits a little for the kernel, which
// ends namespaces when it has the time.
func difference(before []string, anew bool) string {
	if anew { // VFs that were made anew have other MACs
		before = withoutMACs(before)
	}
	var lines []string
	for range 50 {
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
		if len(lines) == 0 {
			return ""
		}
		time.Sleep(200 * time.Millisecond)
	}
	return strings.Join(lines, "\n")
}

// remakeVFs takes all VFs away and makes them again, as an administrator does.
const remakeVFs = `
for n in /sys/class/net/*/device/sriov_numvfs; do
	pf=${n#/sys/class/net/}; pf=${pf%%/*}; count=$(cat $n)
	[ $count -gt 0 ] || continue
	echo 0 >$n; echo $count >$n
done
for vf in /sys/class/net/*/device/virtfn*; do
	for i in $(seq 100); do [ -d $vf/net ] && break; sleep 0.1; done
	pf=${vf#/sys/class/net/}; pf=${pf%%/*}; number=${vf##*virtfn}; name=$(ls $vf/net)
	ip link set $name down
	[ $name = ${pf}v$number ] || ip link set $name name ${pf}v$number
	ip link set $pf vf $number mac $(cat $vf/net/*/address)
done`

// startAnew makes everything clean by force, for another try of a round.
func (c *campaign) startAnew() error {
	_, err := shell(`ip -all netns delete; mount -o remount,rw,size=2m ` + stateDir + `; rm -rf ` + stateDir + `/* /var/lib/cni/networks/* /var/lib/cni/sriov/* ` + orders + `/*; sleep 1` + remakeVFs)
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
