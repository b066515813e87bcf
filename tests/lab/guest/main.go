// Command guest is the agent inside the lab's VM. It serves the host over the
// virtio port that is called lab.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/multibond/multibond/tests/lab/internal/agent"
)

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "lab agent:", err)
		os.Exit(1)
	}
}

func serve() error {
	path, err := port("lab")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return agent.Serve(f)
}

// port finds a virtio port's device by the name that QEMU gave it.
func port(name string) (string, error) {
	files, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return "", err
	}
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(b)) == name {
			return filepath.Join("/dev", filepath.Base(filepath.Dir(file))), nil
		}
	}
	return "", errors.New("there is no virtio port " + name)
}
