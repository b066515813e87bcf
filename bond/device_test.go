package bond

import (
	"errors"
	"io/fs"
	"maps"
	"path"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sysfs makes a tree of symbolic links ("-> target"), directories ("/") and files.
func sysfs(entries map[string]string) fstest.MapFS {
	m := fstest.MapFS{}
	for name, what := range entries {
		file := &fstest.MapFile{}
		switch {
		case what == "/":
			file.Mode = fs.ModeDir
		case len(what) > 3 && what[:3] == "-> ":
			file.Mode, file.Data = fs.ModeSymlink, []byte(what[3:])
		default:
			file.Data = []byte(what)
		}
		m[path.Join("bus/pci/devices", name)] = file
	}
	return m
}

// node makes the sysfs of a PF with two VFs. The entries of changes are added or
// replace others; "" removes one.
func node(changes map[string]string) fstest.MapFS {
	entries := map[string]string{
		"0000:01:00.0/driver":       "-> ../../drivers/igb",
		"0000:01:00.0/net/enp1s0":   "/",
		"0000:01:00.0/virtfn0":      "-> ../0000:01:10.0",
		"0000:01:00.0/virtfn1":      "-> ../0000:01:10.2",
		"0000:01:00.0/sriov_numvfs": "2\n",
		"0000:01:10.2/physfn":       "-> ../0000:01:00.0",
		"0000:01:10.2/driver":       "-> ../../../../bus/pci/drivers/igbvf",
		"0000:01:10.2/net/enp1s0v1": "/",
	}
	for name, what := range changes {
		if what == "" {
			delete(entries, name)
		} else {
			entries[name] = what
		}
	}
	return sysfs(entries)
}

func TestReadDevice(t *testing.T) {
	const vf, pf, netdev, driver = "0000:01:10.2", "0000:01:00.0", "0000:01:10.2/net/enp1s0v1", "0000:01:10.2/driver"
	whole := Device{Address: vf, PF: pf, Number: 1, Driver: "igbvf", Netdev: "enp1s0v1", PFNetdev: "enp1s0"}
	but := func(change func(*Device)) Device { d := whole; change(&d); return d }
	for _, c := range []struct {
		name, address string
		change        map[string]string
		want          Device
	}{
		{"a VF", vf, nil, whole},
		{"a PF", pf, nil, Device{Address: pf, Driver: "igb", Netdev: "enp1s0"}},
		{"no driver", vf, map[string]string{driver: "", netdev: ""}, but(func(d *Device) { d.Driver, d.Netdev = "", "" })},
		{"vfio", vf, map[string]string{driver: "-> ../../drivers/vfio-pci", netdev: ""}, but(func(d *Device) { d.Driver, d.Netdev = "vfio-pci", "" })},
		{"in another namespace, net is empty", vf, map[string]string{netdev: "", "0000:01:10.2/net": "/"}, but(func(d *Device) { d.Netdev = "" })},
		{"in another namespace, no net", vf, map[string]string{netdev: ""}, but(func(d *Device) { d.Netdev = "" })},
		{"PF in another namespace", vf, map[string]string{"0000:01:00.0/net/enp1s0": "", "0000:01:00.0/net": "/"}, but(func(d *Device) { d.PFNetdev = "" })},
		{"a PF with representors", vf, map[string]string{
			"0000:01:00.0/net/enp1s0": "", "0000:01:00.0/net/enp1s0/phys_port_name": "p0\n",
			"0000:01:00.0/net/a0/phys_port_name": "pf0vf0\n", "0000:01:00.0/net/a1/phys_port_name": "pf0vf1\n", "0000:01:00.0/net/a2/phys_port_name": "c1pf0sf3\n",
		}, whole},
		{"a port name that is empty", vf, map[string]string{
			"0000:01:00.0/net/enp1s0": "", "0000:01:00.0/net/enp1s0/phys_port_name": "\n", "0000:01:00.0/net/a0/phys_port_name": "p0s1\n"}, whole},
		{"a port name that cannot be read", vf, map[string]string{
			"0000:01:00.0/net/enp1s0": "", "0000:01:00.0/net/enp1s0/phys_port_name": "/", "0000:01:00.0/net/a0/phys_port_name": "pf0vf0\n"}, whole},
		{"another port name, before none", vf, map[string]string{
			"0000:01:00.0/net/enp1s0": "", "0000:01:00.0/net/enp1s0/phys_port_name": "p0s1\n", "0000:01:00.0/net/a0/phys_port_name": "pf0vf0\n"}, whole},
		{"only representors", vf, map[string]string{
			"0000:01:00.0/net/enp1s0": "", "0000:01:00.0/net/a0/phys_port_name": "pf0vf0\n"}, but(func(d *Device) { d.PFNetdev = "" })},
		{"two ports", pf, map[string]string{
			"0000:01:00.0/net/enp1s0": "", "0000:01:00.0/net/eth2/dev_port": "1\n", "0000:01:00.0/net/eth3/dev_port": "0\n"},
			Device{Address: pf, Driver: "igb", Netdev: "eth3", Others: []string{"eth2"}}},
		{"virtio", vf, map[string]string{
			netdev: "", driver: "-> ../../drivers/virtio-pci", "0000:01:00.0/driver": "-> ../../drivers/virtio-pci", "0000:01:10.2/virtio3/net/enp1s0v1/dev_port": "0\n", "0000:01:10.2/uevent": "", "0000:01:00.0/net/enp1s0": "", "0000:01:00.0/virtio1/net/enp1s0": "/"},
			but(func(d *Device) { d.Driver = "virtio-pci" })},
		{"virtio in another namespace", vf, map[string]string{netdev: "", driver: "-> ../../drivers/virtio-pci", "0000:01:10.2/virtio3": "/"},
			but(func(d *Device) { d.Driver, d.Netdev = "virtio-pci", "" })},
		{"no PF known", vf, map[string]string{"0000:01:10.2/physfn": ""}, Device{Address: vf, Driver: "igbvf", Netdev: "enp1s0v1"}},
		{"a driver that is a file", vf, map[string]string{driver: "igbvf"}, but(func(d *Device) { d.Driver = "" })},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ReadDevice(node(c.change), c.address, "")
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
}

// TestPorts: the port tells the interfaces of one device, and the first port is the one
// that the address alone tells.
func TestPorts(t *testing.T) {
	const pf, vf = "0000:01:00.0", "0000:01:10.2"
	net := func(device, name, devPort, portName string) map[string]string {
		return map[string]string{device + "/net/" + name + "/dev_port": devPort, device + "/net/" + name + "/phys_port_name": portName}
	}
	for _, c := range []struct {
		name   string
		change []map[string]string
		want   map[string]string // interface by port
		pf     string            // of the VF's port 1
	}{
		{"mlx4", []map[string]string{net(pf, "eth2", "1\n", "p2\n"), net(pf, "eth3", "0\n", "p1\n"), net(vf, "eth4", "1\n", ""), net(vf, "enp1s0v1", "0\n", "")},
			map[string]string{"1": "eth2", "p1": "eth3", "": "eth3", "0": "", "2": ""}, "eth2"},
		{"cxgb4, mana", []map[string]string{net(pf, "eth2", "1\n", ""), net(pf, "eth3", "0\n", "")},
			map[string]string{"1": "eth2", "0": "eth3", "": "eth3"}, "eth2"},
		{"nfp", []map[string]string{net(pf, "eth2", "0\n", "p1\n"), net(pf, "eth3", "0\n", "p0\n")},
			map[string]string{"p1": "eth2", "0": "eth3", "": "eth3"}, "eth3"},
		{"switchdev", []map[string]string{net(pf, "a0", "0\n", "pf0vf0\n"), net(pf, "enp1s0np0", "0\n", "p0\n")},
			map[string]string{"pf0vf0": "a0", "0": "enp1s0np0", "": "enp1s0np0"}, "enp1s0np0"},
		{"virtio", []map[string]string{{"0000:01:00.0/driver": "-> ../../drivers/virtio-pci", "0000:01:10.2/driver": "-> ../../drivers/virtio-pci"}, net(pf+"/virtio1", "eth2", "1\n", ""), net(pf+"/virtio1", "eth3", "0\n", "")},
			map[string]string{"1": "eth2", "0": "eth3", "": "eth3"}, "eth2"},
		{"the other port is not here", []map[string]string{net(pf, "eth2", "1\n", "")}, map[string]string{"1": "eth2", "0": "", "": "eth2"}, "eth2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			changes := map[string]string{"0000:01:00.0/net/enp1s0": ""}
			for _, one := range c.change {
				maps.Copy(changes, one)
			}
			sys := node(changes)
			for port, want := range c.want {
				d, err := ReadDevice(sys, pf, port)
				require.NoError(t, err)
				assert.Equal(t, want, d.Netdev, "port %q", port)
				if want != "" && port != "" {
					assert.Equal(t, port, PortOf(sys, Link{Name: want, Device: pf}))
				}
			}
			d, err := ReadDevice(sys, vf, "1")
			require.NoError(t, err)
			assert.Equal(t, c.pf, d.PFNetdev)
		})
	}
	assert.Empty(t, PortOf(node(nil), Link{Name: "enp1s0"}), "no device")
	assert.Equal(t, []string{pf, pf, pf + "#1"}, []string{Identity(pf, ""), Identity(pf, "0"), Identity(pf, "1")})
}

func TestPortNames(t *testing.T) {
	for name, want := range map[string][2]bool{ // own, representor
		"": {true, false}, "p0": {true, false}, "p12": {true, false}, "p": {}, "p0s1": {}, "0": {}, "xp0": {},
		"pf0vf1": {false, true}, "pf0sf88": {false, true}, "c1pf0vf1": {false, true}, "c12pf3sf4x": {false, true},
		"pf0": {}, "pfvf0": {}, "c1pf0": {}, "cpf0vf0": {}, "c1p0": {}, "pf0xf1": {}, "c1c1pf0vf0": {},
	} {
		assert.Equal(t, want, [2]bool{isOwnPort(name), isRepresentor(name)}, name)
	}
}

func TestReadDeviceErrors(t *testing.T) {
	for _, c := range []struct {
		name, address string
		change        map[string]string
		missing       bool
		text          string
	}{
		{"no such device", "0000:01:10.4", nil, true, "PCI device 0000:01:10.4: open bus/pci/devices/0000:01:10.4: file does not exist"},
		{"a PF that is gone", "0000:01:10.2", map[string]string{"0000:01:10.2/physfn": "-> ../0000:09:00.0"}, true,
			"PF 0000:09:00.0: open bus/pci/devices/0000:09:00.0: file does not exist"},
		{"a PF that does not know its VF", "0000:01:10.2", map[string]string{"0000:01:00.0/virtfn1": "-> ../0000:01:10.4"}, true,
			"PF 0000:01:00.0: VF 0000:01:10.2: file does not exist"},
		{"net is a file", "0000:01:10.2", map[string]string{"0000:01:10.2/net/enp1s0v1": "", "0000:01:10.2/net": "x"}, false,
			"PCI device 0000:01:10.2: readdir bus/pci/devices/0000:01:10.2/net: not implemented"},
		{"a VF without a number", "0000:01:10.2", map[string]string{"0000:01:00.0/virtfn1": "", "0000:01:00.0/virtfnx": "-> ../0000:01:10.2"}, false,
			`PF 0000:01:00.0: strconv.Atoi: parsing "x": invalid syntax`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadDevice(node(c.change), c.address, "")
			assert.EqualError(t, err, c.text)
			assert.Equal(t, c.missing, errors.Is(err, fs.ErrNotExist))
		})
	}
}

func TestUserspace(t *testing.T) {
	for driver, want := range map[string]bool{"vfio-pci": true, "uio_pci_generic": true, "igb_uio": true, "iavf": false, "mlx5_core": false, "": false} {
		assert.Equal(t, want, Device{Driver: driver}.Userspace(), driver)
	}
}
