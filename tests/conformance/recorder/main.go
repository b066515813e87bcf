// recorder is a CNI plugin that records how it is called and answers what its own
// configuration says. It is installed under the names of other plugins. These keys of
// the configuration are its own:
//
//	"result"  what ADD answers; its interfaces get CNI_IFNAME and CNI_NETNS for IFNAME and NETNS
//	"fails"   verbs that fail, such as ["DEL"]
//	"ip"      commands of ip(8) that ADD executes in the pod, with IFNAME as above
//	"writes"  what ADD writes into the file for device information
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Calls is the file to which each call is appended.
const calls = "/run/conformance/calls"

type config struct {
	CNIVersion    string          `json:"cniVersion"`
	Result        json.RawMessage `json:"result"`
	PrevResult    json.RawMessage `json:"prevResult"`
	Fails         []string        `json:"fails"`
	IP            []string        `json:"ip"`
	Writes        json.RawMessage `json:"writes"`
	RuntimeConfig struct {
		CNIDeviceInfoFile string
	} `json:"runtimeConfig"`
}

func main() {
	if err := run(os.Getenv("CNI_COMMAND")); err != nil {
		json.NewEncoder(os.Stdout).Encode(map[string]any{"code": 100, "msg": err.Error()})
		os.Exit(1)
	}
}

func run(verb string) error {
	if verb == "VERSION" {
		fmt.Println(`{"cniVersion":"1.1.0","supportedVersions":["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}`)
		return nil
	}
	stdin, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	var c config
	if err := errors.Join(json.Unmarshal(stdin, &c), record(verb, stdin)); err != nil {
		return err
	}
	for _, one := range c.Fails {
		if one == verb {
			return errors.New(verb + " fails because its configuration says so")
		}
	}
	if verb != "ADD" {
		return nil
	}
	for _, command := range c.IP {
		args := append([]string{"-n", filepath.Base(os.Getenv("CNI_NETNS"))}, strings.Fields(placed(command))...)
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", command, err, out)
		}
	}
	if c.Writes != nil && c.RuntimeConfig.CNIDeviceInfoFile != "" {
		if err := os.WriteFile(c.RuntimeConfig.CNIDeviceInfoFile, c.Writes, 0o644); err != nil {
			return err
		}
	}
	fmt.Println(c.answer())
	return nil
}

// answer is the result of ADD: that of the configuration, or that of the plugin before, or
// an interface.
func (c config) answer() string {
	switch {
	case c.Result != nil:
		return placed(string(c.Result))
	case c.PrevResult != nil:
		return string(c.PrevResult)
	case strings.HasPrefix(c.CNIVersion, "0.1.") || strings.HasPrefix(c.CNIVersion, "0.2."):
		return fmt.Sprintf(`{"cniVersion":%q}`, c.CNIVersion)
	}
	return fmt.Sprintf(`{"cniVersion":%q,"interfaces":[{"name":%q,"sandbox":%q}]}`, c.CNIVersion, os.Getenv("CNI_IFNAME"), os.Getenv("CNI_NETNS"))
}

func placed(text string) string {
	return strings.NewReplacer("IFNAME", os.Getenv("CNI_IFNAME"), "NETNS", os.Getenv("CNI_NETNS")).Replace(text)
}

// record appends the call to calls.
func record(verb string, stdin []byte) error {
	text, err := json.Marshal(map[string]any{
		"verb": verb, "type": filepath.Base(os.Args[0]), "ifName": os.Getenv("CNI_IFNAME"), "args": os.Getenv("CNI_ARGS"),
		"netns": os.Getenv("CNI_NETNS"), "container": os.Getenv("CNI_CONTAINERID"), "stdin": json.RawMessage(stdin),
	})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(calls, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	return errors.Join(err, f.Close())
}
