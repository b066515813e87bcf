// Image writes a container image of a few files, see package oci.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"strings"

	"github.com/multibond/multibond/deploy/oci"
)

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// pairs is a flag of the form a=b that may be repeated.
type pairs [][2]string

func (p *pairs) String() string { return fmt.Sprint(*p) }

func (p *pairs) Set(text string) error {
	to, from, is := strings.Cut(text, "=")
	if !is || !path.IsAbs(to) || from == "" {
		return fmt.Errorf("want /path=file")
	}
	*p = append(*p, [2]string{path.Clean(to), from})
	return nil
}

func run(args []string, usage io.Writer) error {
	var image oci.Image
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.SetOutput(usage)
	out := flags.String("o", "", "the `file` to write")
	name := flags.String("name", "", "the image's `name`, host/path:tag")
	flags.StringVar(&image.Arch, "arch", runtime.GOARCH, "the `architecture` that the files are for, as GOARCH")
	flags.StringVar(&image.Entrypoint, "entrypoint", "", "the `program` that a container runs")
	flags.Var((*pairs)(&image.Files), "file", "a file of the image, as `/path=file`; may be repeated")
	flags.Var((*pairs)(&image.Links), "link", "a symbolic link in the image, as `/path=target`; may be repeated")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *out == "" || *name == "" || len(image.Files) == 0 || flags.NArg() > 0 {
		return fmt.Errorf("want -o, -name, at least one -file, and no other arguments")
	}
	layout, _, err := oci.Layout(*name, image)
	if err != nil {
		return err
	}
	if err := os.WriteFile(*out+".new", layout, 0o644); err != nil {
		return err
	}
	return os.Rename(*out+".new", *out)
}
