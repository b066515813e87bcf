package main

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
)

// bundleReport is what bundle prints.
type bundleReport struct {
	header
	File   string   `json:"file"`
	Holds  []string `json:"holds"`
	Unseen []string `json:"unseen,omitempty"`
}

const bundleText = `What kubectl multibond has seen of a cluster, for a bug report.

status.json    what is wrong, the worst first, and the nodes
doctor.json    what each agent tells of its node: PFs, resources, plugins, Records, bonds
bonds.json     the bonds of all pods, with their links
events.json    the events that agents have published
version.json   of this program
logs/          the last lines of each agent
unseen.txt     what could not be seen, if anything

It has names of pods, networks, nodes and devices, addresses and MACs. It has no NAD, no
environment, no Secret, and no annotation that Multibond has not written.
`

func newBundle(e *env) *cobra.Command {
	s := scope{events: true}
	var file string
	c := &cobra.Command{
		Use:   "bundle",
		Short: "Collect what a bug report needs into a file",
		Long:  "Collect what a bug report needs into a file: how the cluster is, what agents tell of their\nnodes, their events and logs. It has nothing secret; its README says what it has.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := e.look(c.Context(), s)
			if err != nil {
				return err
			}
			core, _, err := e.clients()
			if err != nil {
				return err
			}
			if file == "" {
				file = "multibond-" + e.now().UTC().Format("20060102-150405") + ".tar.gz"
			}
			b, err := e.bundle(c.Context(), core, p, file)
			if err != nil {
				return err
			}
			r := bundleReport{headerOf("Bundle"), file, b.names, p.allUnseen()}
			err = e.print(r, func(out *page) {
				out.line("%s: %d files", r.File, len(r.Holds))
				out.unseen(r.Unseen)
			})
			return cmp.Or(err, notSeen(r.Unseen))
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "The `file` to write (default: multibond-TIME.tar.gz)")
	e.scopeFlags(c, &s, nil)
	return c
}

// bundle is a tar that is being written. It keeps the first error.
type bundle struct {
	to    *tar.Writer
	at    time.Time
	names []string
	err   error
}

// add adds a file.
func (b *bundle) add(name string, text []byte) {
	err := b.to.WriteHeader(&tar.Header{Name: "multibond/" + name, Mode: 0o644, Size: int64(len(text)), ModTime: b.at})
	if err == nil {
		_, err = b.to.Write(text)
	}
	b.names, b.err = append(b.names, name), errors.Join(b.err, err)
}

func (b *bundle) addJSON(name string, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	b.err = errors.Join(b.err, err)
	b.add(name, append(text, '\n'))
}

// bundle writes what was seen to a file, which is not there before, nor after an error.
func (e *env) bundle(ctx context.Context, core *coreclient.CoreV1Client, p *picture, file string) (*bundle, error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	zipped := gzip.NewWriter(f)
	b := &bundle{to: tar.NewWriter(zipped), at: p.now}
	b.add("README", []byte(bundleText))
	b.addJSON("version.json", versionNow())
	b.addJSON("status.json", p.status())
	b.addJSON("doctor.json", p.doctor(nil))
	b.addJSON("bonds.json", bondList{header: headerOf("BondList"), Items: p.bonds()})
	b.addJSON("events.json", published(p.events))
	for i := range p.agents {
		if ctx.Err() != nil {
			p.cannot("the logs of the other agents", context.Cause(ctx))
			break
		}
		e.addLog(ctx, b, core, p, &p.agents[i])
	}
	e.progress("")
	if unseen := p.allUnseen(); unseen != nil {
		var text []byte
		for _, u := range unseen {
			text = fmt.Appendln(text, u)
		}
		b.add("unseen.txt", text)
	}
	err = errors.Join(b.err, b.to.Close(), zipped.Close(), f.Close())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", file, err), os.Remove(file))
	}
	return b, nil
}

// addLog adds the last lines of an agent.
func (e *env) addLog(ctx context.Context, b *bundle, core *coreclient.CoreV1Client, p *picture, agent *corev1.Pod) {
	e.progress("the log of %s", agent.Name)
	lines, most := int64(5000), int64(4<<20)
	text, err := core.Pods(agent.Namespace).GetLogs(agent.Name, &corev1.PodLogOptions{Container: "agent", TailLines: &lines, LimitBytes: &most}).Stream(ctx)
	if err != nil {
		p.cannot("the log of "+agent.Name, err)
		return
	}
	defer text.Close()
	all, err := io.ReadAll(text)
	p.cannot("the log of "+agent.Name, err)
	b.add("logs/"+agent.Spec.NodeName+"-"+agent.Name+".log", all)
}

// published returns events without what others have added to them.
func published(events []corev1.Event) []podEvent {
	out := []podEvent{}
	for _, ev := range events {
		out = append(out, podEvent{ev.LastTimestamp, strings.TrimPrefix(ev.InvolvedObject.Namespace+"/"+ev.InvolvedObject.Name, "/"), ev.Type, ev.Reason, ev.Message})
	}
	return out
}
