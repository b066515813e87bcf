package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

// Table is build/report/failover.json.
type Table struct {
	Kernel   string   `json:"kernel"`
	WallS    float64  `json:"wall_s"`
	Results  []Result `json:"results"`
	Targets  []Target `json:"targets"`  // what they had to be
	Failures []string `json:"failures"` // trials that could not be carried out, and why
}

// runTrials boots the lab and carries out the trials whose words contain all of
// those given, and writes the table, and a picture of it beside.
func runTrials(ctx context.Context, kernel, plugin, file, words string, out io.Writer) error {
	began := time.Now()
	d := &demo{out: out}
	var table Table
	err := d.inLab(ctx, kernel, plugin, func(ctx context.Context) error {
		if err := d.prepare(ctx); err != nil {
			return err
		}
		if _, err := d.guest.run(ctx, "ip", "address", "add", routerAddress6+"/64", "dev", routerPF, "nodad"); err != nil {
			return err
		}
		return d.tryAll(ctx, words, &table)
	})
	table.Kernel, table.WallS = d.report.Kernel, float64(time.Since(began).Milliseconds())/1000
	if err != nil {
		table.Failures = append(table.Failures, err.Error())
	}
	table.Targets = table.targets()
	if written := table.write(file); err == nil {
		err = written
	}
	heading(out, "The table")
	if printed := table.print(out); err == nil {
		err = printed
	}
	say(out, "%.0f s in all; report: %s", table.WallS, file)
	return err
}

// tryAll goes on after a trial that could not be carried out.
func (d *demo) tryAll(ctx context.Context, words string, table *Table) error {
	var errs []error
	for _, t := range trials() {
		if !containsAll(t.String(), strings.Fields(words)) {
			continue
		}
		r, err := d.try(ctx, t)
		if err != nil {
			errs = append(errs, err)
			say(d.out, "%s: FAILED: %v", t, err)
			continue
		}
		table.Results = append(table.Results, r)
		say(d.out, "%s: %s", t, r.words())
	}
	return errors.Join(errs...)
}

func containsAll(text string, words []string) bool {
	for _, word := range words {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

// words say what a fault cost.
func (r Result) words() string {
	words := fmt.Sprintf("%.0f ms without an answer, %d lost", r.Fault.GapMS, r.Fault.Lost)
	if !r.Fault.Whole {
		words = fmt.Sprintf("%d of %d lost, and traffic did not come back", r.Fault.Lost, r.Fault.Sent)
	}
	if r.Returned != nil {
		words += fmt.Sprintf("; both links are in the bond %.0f ms after the VF began to be made anew", r.Returned.BondMS)
	}
	return words
}

func (t Table) write(file string) error {
	text, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	picture := strings.TrimSuffix(file, filepath.Ext(file)) + ".svg"
	return errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, append(text, '\n'), 0o644), os.WriteFile(picture, []byte(t.svg()), 0o644))
}

func (t Table) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  mode\tmonitor\tpeer\tfault\tdriver reports\twithout answer\tlost\tcarries then\tMAC\tbond reports\tannounced\tmended: without answer\tlost\tcarries then"+
		"\twith keep: without answer\tlost\tmended: without answer\tlost\tVF back in the bond")
	for _, r := range t.rows() {
		of := r.trial()
		fmt.Fprintf(w, "  %s\t%s\t%s %s\t%s\t%s\t%s\n", strings.TrimSpace(of.Mode+" "+of.MACs), of.Monitor, of.Peer, of.Family, of.Fault, r.alone.cells(), r.kept.keptCells())
	}
	return errors.Join(w.Flush(), t.printTargets(out))
}

// cells are those of a result without keep.
func (r *Result) cells() string {
	if r == nil {
		return strings.Repeat("-\t", 9) + "-"
	}
	mac, said := "the same", "nothing"
	if r.SaidMS != nil {
		said = fmt.Sprintf("after %.0f ms", *r.SaidMS)
	}
	switch {
	case r.MACAfter == "":
		mac = "-"
	case r.MACBefore != r.MACAfter:
		mac = "another"
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s", said, r.Fault.cells(), strings.Join(r.Carries, " "), mac, r.Said, r.Heard, r.Mended.cells(), strings.Join(r.Back, " "))
}

// keptCells are those of a result with keep.
func (r *Result) keptCells() string {
	if r == nil {
		return strings.Repeat("-\t", 4) + "-"
	}
	back := "-"
	if r.Returned != nil {
		back = fmt.Sprintf("after %.0f ms", r.Returned.BondMS)
	}
	return fmt.Sprintf("%s\t%s\t%s", r.Fault.cells(), r.Mended.cells(), back)
}

// cells are the time without an answer, and what was lost.
func (o *Outage) cells() string {
	switch {
	case o == nil:
		return "-\t-"
	case !o.Whole:
		return fmt.Sprintf("no end\t%d/%d", o.Lost, o.Sent)
	}
	return fmt.Sprintf("%.0f ms\t%d/%d", o.GapMS, o.Lost, o.Sent)
}

// printTargets lists the targets that were not met, and counts the others.
func (t Table) printTargets(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	met := 0
	for _, target := range t.Targets {
		if target.Met {
			met++
			continue
		}
		fmt.Fprintf(w, "  not met\t%s\twant: %s\tgot: %s\n", target.Trial, target.Want, target.Got)
	}
	fmt.Fprintf(w, "  %d of %d targets met\n", met, len(t.Targets))
	return w.Flush()
}
