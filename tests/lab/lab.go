// Package lab boots a machine with SR-IOV NICs, as a VM that needs neither root
// nor hardware, and runs commands in it.
//
// The guest has two or four PFs on one switch: enp1s0 is 0000:01:00.0, its VFs
// are enp1s0v0 (0000:01:10.0), enp1s0v1 (0000:01:10.2) and so on; enp2s0 is
// 0000:02:00.0. udev gives them these names. PFs are up, VFs are down. The standard CNI plugins and sriov are
// in /opt/cni/bin. All is root's, in memory, and gone with the VM; /lab is a
// directory of the host.
//
// What it boots is made by setup.sh (make lab-setup), below build/lab.
package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options says which machine to boot. The zero value is a good one.
type Options struct {
	Kernel   string            // a directory below build/lab/kernels, as 6.1; default the newest of Kernels
	PFs      int               // 1 to 4, all on one switch; default 2
	VFs      int               // of each PF, 1 to 7; default 4
	Networkd bool              // systemd-networkd sets up every interface that appears, and asks for an address by DHCP
	Files    map[string]string // path below /lab to a file of the host, copied; those in bin/ get into /opt/cni/bin as well
	Disk     string            // an image that the guest has as /dev/vda, read-only; with it comes an uplink, and more memory
	Forward  map[string]int    // with an uplink: an address and port of the host to a port of the guest
	Log      io.Writer         // progress, in single lines; default none
	Timeout  time.Duration     // of the VM's whole life, default 15 min; then it is killed
	Trunk    *os.File          // joins the VM's switch with that of another one: an end of Trunk; nil: nothing does
	Number   int               // of the VM: MACs of PFs differ by it
}

func (o Options) withDefaults() (Options, error) {
	if o.Kernel == "" {
		o.Kernel = newest(Kernels())
	}
	if o.PFs == 0 {
		o.PFs = 2
	}
	if o.VFs == 0 {
		o.VFs = 4
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	if o.Timeout == 0 {
		o.Timeout = 15 * time.Minute
	}
	o.Files = withSRIOV(o.Files)
	if o.PFs < 1 || o.PFs > 4 || o.VFs < 1 || o.VFs > 7 {
		return o, fmt.Errorf("lab: %d PFs with %d VFs: at most 4 with 7 each", o.PFs, o.VFs)
	}
	return o, o.check()
}

// withSRIOV adds the sriov-cni that the environment variable SRIOV names. It takes the
// place of the lab's own. Tests have no flags, so the path is in the environment.
func withSRIOV(files map[string]string) map[string]string {
	const guest = "bin/sriov"
	given := os.Getenv("SRIOV")
	if given == "" || files[guest] != "" {
		return files
	}
	all := map[string]string{guest: given}
	maps.Copy(all, files)
	return all
}

// check finds out before the boot whether set-up was done.
func (o Options) check() error {
	for _, file := range []string{qemu(), kernelFile(o.Kernel, "vmlinux"), kernelFile(o.Kernel, "initramfs")} {
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("lab: %w: run make lab-setup", err)
		}
	}
	return nil
}

// Boot starts a VM and waits until it takes commands. One that does not boot is
// started once more, since a busy host can be too slow for a guest's drivers.
// The context is that of the boot, not of the VM.
func Boot(ctx context.Context, o Options) (*VM, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	vm, first := boot(ctx, o)
	if first == nil || ctx.Err() != nil {
		return vm, first
	}
	fmt.Fprintf(o.Log, "lab: the guest did not boot, starting it once more: %v\n", first)
	vm, second := boot(ctx, o)
	if second != nil {
		return nil, errors.Join(first, second)
	}
	return vm, nil
}

// Trunk returns the two ends of what joins the switches of two VMs. QEMU has its own copy of
// an end. As long as this one is open, another VM can take the place of one that was closed.
func Trunk() (ends [2]*os.File, err error) {
	ends, err = socketFiles(syscall.SOCK_DGRAM) // one message is one frame
	if err != nil {
		err = fmt.Errorf("lab: %w", err)
	}
	return ends, err
}

// BootTwo boots two VMs that are alike and whose switches are joined. The MACs of their PFs
// differ. What closes one of them does not close the other.
func BootTwo(ctx context.Context, o Options) (vms [2]*VM, err error) {
	ends, err := Trunk()
	if err != nil {
		return vms, err
	}
	var both sync.WaitGroup
	var errs [2]error
	for i := range vms {
		both.Go(func() {
			o := o
			o.Trunk, o.Number = ends[i], i
			vms[i], errs[i] = Boot(ctx, o)
		})
	}
	both.Wait()
	for i := range vms {
		ends[i].Close()
	}
	if err := errors.Join(errs[:]...); err != nil {
		for _, vm := range vms {
			if vm != nil {
				err = errors.Join(err, vm.Close())
			}
		}
		return [2]*VM{}, err
	}
	return vms, nil
}

// Root is the directory of the repository that the working directory is in. It
// panics outside of it.
func Root() string {
	wd, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "tests", "lab", "setup.sh")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			panic("lab: " + wd + " is not in the repository")
		}
	}
}

// arch is the guest's architecture, amd64 or arm64: LAB_ARCH in the environment, as tests
// have no flags.
func arch() string { return cmp.Or(os.Getenv("LAB_ARCH"), "amd64") }

// Dir is where setup.sh puts what the lab needs.
func Dir() string { return filepath.Join(Root(), "build", "lab"+suffix("-")) }

// Programs is where make puts the programs that run in the guest.
func Programs() string { return filepath.Join(Root(), "build"+suffix("/")) }

// suffix sets apart what is for a guest of another architecture.
func suffix(separator string) string {
	if arch() == "amd64" {
		return ""
	}
	return separator + arch()
}

// Environ is the environment for compiling programs that run in the guest.
func Environ() []string { return append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch()) }

// Kernels lists those that KERNELS in the environment names, or else those that were
// set up, oldest first.
func Kernels() []string {
	if names := strings.Fields(os.Getenv("KERNELS")); len(names) > 0 {
		return sorted(names)
	}
	files, _ := filepath.Glob(kernelFile("*", "initramfs"))
	var names []string
	for _, file := range files {
		names = append(names, filepath.Base(filepath.Dir(file)))
	}
	return sorted(names)
}

func sorted(kernels []string) []string {
	slices.SortFunc(kernels, func(a, b string) int { return slices.Compare(version(a), version(b)) })
	return kernels
}

func newest(kernels []string) string {
	if len(kernels) == 0 {
		return "none" // which check names
	}
	return kernels[len(kernels)-1]
}

// version makes 6.12 come after 6.1.
func version(s string) []int {
	var numbers []int
	for part := range strings.SplitSeq(s, ".") {
		n, _ := strconv.Atoi(part)
		numbers = append(numbers, n)
	}
	return numbers
}

func qemu() string { return filepath.Join(Dir(), "qemu") }

func kernelFile(kernel, name string) string {
	return filepath.Join(Dir(), "kernels", kernel, name)
}
