package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/multibond/multibond/delegate/strictjson"
	"github.com/multibond/multibond/kubeclient/kubefake"
)

// observation is what one contender did in one case.
type observation struct {
	text   string   // what is compared
	events []string // "Normal AddedInterface Add eth0 ..."
	errors []string // of ADD and DEL
}

// call is one call of a delegate, as the recorder writes it.
type call struct {
	Verb, Type, IfName, Args, Netns, Container string
	Stdin                                      map[string]any
}

const (
	podNetns    = "pod"
	netns       = "/run/netns/" + podNetns
	runtimeArgs = "IgnoreUnknown=1;K8S_POD_NAMESPACE=%s;K8S_POD_NAME=%s;K8S_POD_INFRA_CONTAINER_ID=%s;K8S_POD_UID=%s"
)

// observe runs ADD and DEL of the case's pod.
func (n *node) observe(c *testCase, who contender) (o observation, err error) {
	n.containers++
	container, uid := fmt.Sprintf("container-%d", n.containers), fmt.Sprintf("uid-%d", n.containers)
	config, err := c.configOf(who)
	if err != nil {
		return o, err
	}
	if err := n.give(c, uid); err != nil {
		return o, err
	}
	if _, err := ip("netns", "add", podNetns); err != nil {
		return o, err
	}
	namespace, name, _ := strings.Cut(c.sections["pod"], "/")
	args := fmt.Sprintf(runtimeArgs, namespace, name, container, uid)
	if own, there := c.sections["args"]; there {
		args = strings.ReplaceAll(own, "$UID", uid)
	}
	env := []string{"CNI_CONTAINERID=" + container, "CNI_NETNS=" + netns, "CNI_ARGS=" + args}
	var text strings.Builder
	w := writer{&text, args}
	result, failed := n.execute(who, "ADD", env, config)
	added, err := takeCalls()
	if err != nil {
		return o, err
	}
	w.calls(added)
	if failed != nil {
		text.WriteString("ADD fails\n")
		o.errors = append(o.errors, failed.Error())
	} else {
		fmt.Fprintf(&text, "result %s\n", canonical(result))
	}
	w.status(n.api.Object(kubefake.Pods, namespace, name))
	routes, err := routes()
	if err != nil {
		return o, err
	}
	text.WriteString(routes)
	for _, verb := range strings.Fields(c.sections["verbs"]) {
		if o.errors, err = n.meanwhile(who, verb, env, config, result, w, o.errors); err != nil {
			return o, err
		}
	}
	if _, failed := n.execute(who, "DEL", env, config); failed != nil {
		text.WriteString("DEL fails\n")
		o.errors = append(o.errors, failed.Error())
	}
	deleted, err := takeCalls()
	if err != nil {
		return o, err
	}
	w.deletions(deleted, added)
	o.events = n.eventsOf(uid)
	warned := func(e string) bool { return strings.HasPrefix(e, "Warning") }
	for range 50 { // an agent publishes events after a verb has ended
		missing := !strings.Contains(text.String(), "ADD fails") && len(o.events) == 0
		if !missing && (!strings.Contains(text.String(), "DEL fails") || slices.ContainsFunc(o.events, warned)) {
			break
		}
		time.Sleep(20 * time.Millisecond)
		o.events = n.eventsOf(uid)
	}
	w.events(o.events)
	o.text = c.shared(strings.NewReplacer(container, "CONTAINER", uid, "UID").Replace(text.String()))
	if err := n.take(c); err != nil {
		return o, err
	}
	_, err = ip("netns", "del", podNetns)
	return o, err
}

// meanwhile runs a verb while the pod is attached, and returns errs with the verb's error. The
// verb gets the result of ADD, as the CNI library gives it.
func (n *node) meanwhile(who contender, verb string, env []string, config, result []byte, w writer, errs []string) ([]string, error) {
	if verb == "STATUS" {
		env = nil
	} else {
		config = strictjson.SetField(config, "prevResult", result)
	}
	fmt.Fprintf(w, "then %s\n", verb)
	_, failed := n.execute(who, verb, env, config)
	made, err := takeCalls()
	if err != nil {
		return errs, err
	}
	w.calls(made)
	if failed != nil {
		fmt.Fprintf(w, "%s fails\n", verb)
		errs = append(errs, failed.Error())
	}
	return errs, nil
}

// takeCalls returns the calls since it was last called.
func takeCalls() (all []call, err error) {
	raw, err := os.ReadFile(calls)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for line := range bytes.Lines(raw) {
		var one call
		if err := json.Unmarshal(line, &one); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, errors.Join(err, os.Remove(calls))
}

// eventsOf returns the events of the pod with that UID.
func (n *node) eventsOf(uid string) (all []string) {
	for _, e := range n.api.Of(kubefake.Events) {
		if of, _ := e["involvedObject"].(map[string]any); of["uid"] == uid {
			all = append(all, fmt.Sprint(e["type"], " ", e["reason"], ": ", e["message"]))
		}
	}
	return all
}

// routes are the default routes of the pod.
func routes() (string, error) {
	var text strings.Builder
	for _, family := range []string{"-4", "-6"} {
		out, err := ip(family, "-n", podNetns, "route", "show", "default")
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(out) {
			words := strings.Fields(line)
			text.WriteString("route " + strings.Join(words[:min(5, len(words))], " ") + "\n")
		}
	}
	return text.String(), nil
}

// writer writes an observation.
type writer struct {
	*strings.Builder
	args string // CNI_ARGS of the runtime
}

func (w writer) calls(all []call) {
	for _, one := range all {
		fmt.Fprintf(w, "%s %s %s", one.Verb, one.IfName, one.Type)
		if one.Netns != netns {
			fmt.Fprintf(w, " in %q", one.Netns)
		}
		w.WriteString("\n")
		if more := w.moreArgs(one.Args); more != "" {
			fmt.Fprintf(w, "  args %s\n", more)
		}
		fmt.Fprintf(w, "  stdin %s\n", encode(one.Stdin))
	}
}

// deletions writes what DEL called. Standard input is left out if it is that of ADD,
// apart from prevResult.
func (w writer) deletions(all, added []call) {
	for _, one := range all {
		fmt.Fprintf(w, "%s %s %s\n", one.Verb, one.IfName, one.Type)
		if more := w.moreArgs(one.Args); more != "" {
			fmt.Fprintf(w, "  args %s\n", more)
		}
		i := slices.IndexFunc(added, func(a call) bool { return a.Verb == "ADD" && a.IfName == one.IfName && a.Type == one.Type })
		if i < 0 || withoutResult(added[i]) != withoutResult(one) {
			fmt.Fprintf(w, "  stdin %s\n", encode(one.Stdin))
		}
	}
}

func withoutResult(c call) string {
	delete(c.Stdin, "prevResult")
	return encode(c.Stdin)
}

// moreArgs returns what a delegate's CNI_ARGS have in addition to the runtime's, sorted, and
// the runtime's that it does not get.
func (w writer) moreArgs(args string) string {
	given := strings.Split(w.args, ";")
	got := strings.Split(args, ";")
	var words []string
	for _, one := range got {
		if !slices.Contains(given, one) && !strings.HasPrefix(one, "IgnoreUnknown=") {
			words = append(words, one)
		}
	}
	for _, one := range given {
		if !slices.Contains(got, one) && !strings.HasPrefix(one, "IgnoreUnknown=") {
			words = append(words, "-"+one)
		}
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

func (w writer) status(pod map[string]any) {
	meta, _ := pod["metadata"].(map[string]any)
	annotations, _ := meta["annotations"].(map[string]any)
	text, _ := annotations["k8s.v1.cni.cncf.io/network-status"].(string)
	var entries []any
	if text == "" {
		return
	}
	if err := json.Unmarshal([]byte(text), &entries); err != nil {
		fmt.Fprintf(w, "status %s\n", text)
	}
	for _, one := range entries {
		fmt.Fprintf(w, "status %s\n", encode(one))
	}
}

// events writes the kinds of events: how many there are, and their words, differ by design.
func (w writer) events(all []string) {
	var kinds []string
	for _, one := range all {
		kind, _, _ := strings.Cut(one, " ")
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	if kinds = slices.Compact(kinds); len(kinds) > 0 {
		fmt.Fprintf(w, "events %s\n", strings.Join(kinds, " "))
	}
}

// encode writes JSON with sorted keys. An empty dns says the same as none: the library of
// CNI writes it, depending on the version.
func encode(value any) string {
	dropEmptyDNS(value)
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(out.String())
}

func dropEmptyDNS(value any) {
	switch v := value.(type) {
	case map[string]any:
		if dns, is := v["dns"].(map[string]any); is && len(dns) == 0 {
			delete(v, "dns")
		}
		for _, inner := range v {
			dropEmptyDNS(inner)
		}
	case []any:
		for _, inner := range v {
			dropEmptyDNS(inner)
		}
	}
}

func canonical(raw []byte) string {
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return string(raw)
	}
	return encode(value)
}
