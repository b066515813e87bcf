package written

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/multibond/multibond/bond"
	"github.com/multibond/multibond/bond/code"
	"github.com/multibond/multibond/delegate/agentapi"
	"github.com/multibond/multibond/delegate/netconf"
	"github.com/multibond/multibond/kubeclient"
)

// The levels of a finding.
const (
	Error   = "error"   // an ADD fails
	Warning = "warning" // an ADD warns
)

// Finding is one thing that is wrong.
type Finding struct {
	Level string    `json:"level"`
	Code  code.Code `json:"code,omitempty"`
	Object
	Context string `json:"context,omitempty"` // what leads to the network, of a pod
	Path    string `json:"path,omitempty"`
	Text    string `json:"text"`
	Hint    string `json:"hint,omitempty"`
}

// String returns the finding without its level, its code and its object.
func (f Finding) String() string {
	return f.Context + bond.Problem{Code: f.Code, Path: f.Path, Text: f.Text, Hint: f.Hint}.Error()
}

// Report is what was found. Unchecked lists what could not be seen, and why.
type Report struct {
	Objects   int       `json:"objects"`
	Errors    int       `json:"errors"`
	Warnings  int       `json:"warnings"`
	Findings  []Finding `json:"findings"`
	Unchecked []string  `json:"unchecked,omitempty"`

	Unseen int `json:"-"` // how many of Unchecked are of a cluster that could not be read
}

// Report judges all objects, in their order.
func (s *Set) Report() Report {
	r := Report{Objects: s.size(), Findings: []Finding{}, Unchecked: slices.Clone(s.unseen), Unseen: len(s.unseen)}
	var cluster agentapi.Cluster
	for _, c := range s.clusters {
		read, err := netconf.ParseCluster(c.raw)
		r.add(c.Object, Error, err)
		r.add(c.Object, Warning, read.Warnings.Err())
		cluster = read.Cluster
	}
	if s.Whole && len(s.clusters) == 0 {
		r.Unchecked = append(r.Unchecked, "the cluster's configuration: not found in "+s.Agents+", so its defaults are assumed")
	}
	judge := s.judge(cluster)
	of := map[string][]Finding{} // by NAD
	for i := range s.nads {
		n := &s.nads[i]
		before := len(r.Findings)
		judged := judge.One(&n.NetworkAttachmentDefinition)
		r.add(n.Object, Error, judged.Err)
		r.add(n.Object, Warning, judged.Warnings.Err())
		if judged.Unseen {
			r.Unchecked = append(r.Unchecked, n.Kind+" "+n.Name+": has no spec.config, so each node has a file with its configuration")
		}
		of[n.Name] = r.Findings[before:]
	}
	for i := range s.pods {
		r.addPod(&s.pods[i], judge, of)
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return cmp.Compare(a.order, b.order) })
	for _, f := range r.Findings {
		switch f.Level {
		case Error:
			r.Errors++
		case Warning:
			r.Warnings++
		}
	}
	return r
}

// add adds what is wrong with an object, which is named beside it.
func (r *Report) add(of Object, level string, err error) {
	for _, f := range findingsOf(err) {
		f.Level, f.Object = level, of
		if strings.HasPrefix(f.Context, "network ") {
			_, f.Context, _ = strings.Cut(f.Context, ": ")
		}
		r.Findings = append(r.Findings, f)
	}
}

// addPod judges a pod, and returns its networks. What is said of a NAD itself is not said of
// each pod that names it.
func (r *Report) addPod(p *pod, judge kubeclient.Judge, ofNADs map[string][]Finding) []kubeclient.Judged {
	judged, err := judge.Pod(&p.Pod, false)
	if p.future && slices.Contains(code.Of(err), code.FewDevices) {
		judged, r.Findings, err = r.withEnough(p, judge, err)
	}
	r.add(p.Object, Error, err)
	for _, j := range judged {
		name := j.Attachment.Element.Network.String()
		if j.Unseen {
			r.Unchecked = append(r.Unchecked, p.Kind+" "+p.Name+": network "+name+" is not here")
		}
		var all []Finding
		for level, err := range map[string]error{Error: j.Err, Warning: j.Warnings.Err()} {
			for _, f := range findingsOf(err) {
				f.Level, f.Object = level, p.Object
				f.Context = cmp.Or(f.Context, j.Attachment.Element.Path+": network "+name+": ")
				all = append(all, f)
			}
		}
		r.addOnce(p.Object, name, all, ofNADs[name])
	}
	return judged
}

// withEnough judges a pod that has too few devices as if admission gave it more. That it has
// too few is a warning then.
func (r *Report) withEnough(p *pod, judge kubeclient.Judge, few error) ([]kubeclient.Judged, []Finding, error) {
	all := r.Findings
	for _, f := range findingsOf(few) {
		f.Level, f.Object, f.Hint = Warning, p.Object, "deploy/inject adds them when the pod is created; without it, add them to resources.limits"
		all = append(all, f)
	}
	judged, err := judge.Pod(&p.Pod, true)
	return judged, all, err
}

// addOnce adds the findings about a network of a pod that are not already said of its NAD. An
// error of the NAD is one of the pod.
func (r *Report) addOnce(of Object, network string, all, ofNAD []Finding) {
	slices.SortStableFunc(all, func(a, b Finding) int { return cmp.Compare(a.Level, b.Level) })
	said := Finding{}
	for _, f := range all {
		same := func(n Finding) bool { return n.Code == f.Code && n.Level == f.Level && n.Path == f.Path }
		if !slices.ContainsFunc(ofNAD, same) {
			r.Findings = append(r.Findings, f)
			continue
		}
		if f.Level == Error && said.Level == "" {
			said = f
			r.Findings = append(r.Findings, Finding{Level: Error, Code: f.Code, Object: of, Context: "", Text: "network " + network + " has errors of its own"})
		}
	}
}

// findingsOf returns one finding for each problem in an error, and for each other error.
func findingsOf(err error) []Finding {
	switch e := err.(type) {
	case nil:
		return nil
	case bond.Problem:
		return []Finding{{Code: e.Code, Path: e.Path, Text: e.Text, Hint: e.Hint}}
	case code.Coded:
		return []Finding{{Code: e.Kind(), Text: e.Error()}}
	case interface{ Unwrap() []error }:
		var all []Finding
		for _, one := range e.Unwrap() {
			all = append(all, findingsOf(one)...)
		}
		return all
	}
	inner := errors.Unwrap(err)
	if inner == nil || len(code.Of(inner)) == 0 {
		return []Finding{{Text: err.Error()}}
	}
	all := findingsOf(inner)
	before := strings.TrimSuffix(err.Error(), inner.Error())
	for i := range all {
		all[i].Context = before + all[i].Context
	}
	return all
}
