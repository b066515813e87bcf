package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// Cables are QEMU's: the host pulls and plugs them as a line of standard error says. The PF
// notices it.

func pullCable(pf int) error { return cable(pf, "off", "0") }

func plugCable(pf int) error { return cable(pf, "on", "1") }

// plugAll plugs the cables of all PFs.
func plugAll() error { return errors.Join(plugCable(0), plugCable(1)) }

func cable(pf int, order, carrier string) error {
	file := fmt.Sprintf("/sys/class/net/enp%ds0/carrier", 1+pf)
	is := func() bool {
		text, _ := os.ReadFile(file)
		return strings.TrimSpace(string(text)) == carrier
	}
	if is() {
		return nil
	}
	fmt.Fprintf(os.Stderr, "faults: cable %d %s\n", pf, order)
	for limit := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(limit) {
			return fmt.Errorf("%s is not %s though its cable was put %s", file, carrier, order)
		}
	}
	return nil
}
