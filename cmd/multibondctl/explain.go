package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/multibond/multibond/cmd/multibondctl/explain"
)

// explainReport is what explain prints.
type explainReport struct {
	header
	Pages []explainPage `json:"pages"`
}

type explainPage struct {
	Code    string `json:"code"`
	Group   string `json:"group"`
	Title   string `json:"title"`
	Text    string `json:"text"`
	In      string `json:"in,omitempty"`
	Mistake string `json:"mistake,omitempty"`
	Remedy  string `json:"remedy,omitempty"`
}

func newExplain(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "explain [CODE...]",
		Short: "Explain the codes of errors and warnings, such as MB541",
		Long: `Explain the codes in brackets at the end of errors and warnings: what is wrong,
why that matters, and an example of the mistake and of its remedy.
Without a code, list all.`,
		Example: "  kubectl multibond explain MB541",
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return allCodes(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			pages := explain.Pages
			if len(args) > 0 {
				pages = nil
			}
			for _, arg := range args {
				page, err := explain.Find(arg)
				if err != nil {
					return err
				}
				pages = append(pages, page)
			}
			return e.print(explained(pages), func(p *page) { printPages(p, pages, len(args) == 0) })
		},
	}
}

// printPages prints pages, or a list of them.
func printPages(p *page, pages []explain.Page, list bool) {
	if list {
		rows := [][]string{{"CODE", "PROBLEM"}}
		for _, one := range pages {
			rows = append(rows, []string{one.Code.String(), one.Title})
		}
		p.table(rows...)
		return
	}
	for i, one := range pages {
		if i > 0 {
			p.line("")
		}
		p.line("%s", one)
	}
}

func explained(pages []explain.Page) explainReport {
	r := explainReport{header: headerOf("Explanation"), Pages: []explainPage{}}
	for _, p := range pages {
		r.Pages = append(r.Pages, explainPage{p.Code.String(), explain.Groups[int(p.Code)/100], p.Title, p.Text, p.In, p.Mistake, p.Remedy})
	}
	return r
}

// allCodes lists all codes with their titles, for completion.
func allCodes() (words []string) {
	for _, p := range explain.Pages {
		words = append(words, fmt.Sprintf("%s\t%s", p.Code, p.Title))
	}
	return words
}
