// Release writes all that a release of Multibond consists of into one directory. The same
// commit and the same Go give the same bytes. Nothing is signed or published; deploy/README.md
// says how a maintainer does that.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, log io.Writer) error {
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.SetOutput(log)
	version := flags.String("version", "", "the `version`, such as v0.3.0; default with -check: the newest of the changelog")
	out := flags.String("o", "build/release", "the `directory` to write; what is there is replaced")
	dirty := flags.Bool("dirty", false, "allow changes that are in no commit, for a trial")
	twice := flags.Bool("check", false, "make the release of the last commit twice, in two directories, and compare")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("want no arguments but flags, not %q", flags.Args())
	}
	if *twice {
		return check(ctx, ".", *version, log)
	}
	r, err := prepare(ctx, ".", *version, *dirty)
	if err != nil {
		return err
	}
	r.build, r.log = compile, log
	return r.write(ctx, *out)
}

// release is what the files of a release are made from.
type release struct {
	version  string
	root     string // of the checkout
	notes    string // the version's section of the changelog
	revision string // the commit, with "-dirty" if there are changes that are in none
	time     time.Time
	build    builder
	log      io.Writer
}

// builder compiles packages of the checkout for a platform into a directory.
type builder func(ctx context.Context, r release, p platform, out string) error
