package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// check makes the release of the last commit in two clones, by their own program, with
// other paths and another time zone, and compares every byte. The two share Go's cache: a
// path that gets into a program makes it another one for Go, too.
func check(ctx context.Context, root, version string, log io.Writer) error {
	if version == "" {
		text, err := os.ReadFile(filepath.Join(root, changelog))
		if err != nil {
			return err
		}
		version = newest(string(text))
	}
	work, err := os.MkdirTemp("", "multibond-check-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	made := []string{filepath.Join(work, "first"), filepath.Join(work, "elsewhere", "second")}
	for i, zone := range []string{"UTC", "Pacific/Auckland"} {
		if err := releaseClone(ctx, root, version, made[i], zone, log); err != nil {
			return err
		}
	}
	if err := same(made[0], made[1]); err != nil {
		return err
	}
	fmt.Fprintf(log, "both releases of %s have the same files\n", version)
	return nil
}

// releaseClone clones the checkout and makes the release there into the directory out.
func releaseClone(ctx context.Context, root, version, out, zone string, log io.Writer) error {
	clone := out + "-clone"
	for _, args := range [][]string{
		{"git", "clone", "--quiet", root, clone},
		{"go", "-C", clone, "run", "./deploy/release", "-version", version, "-o", out},
	} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), "TZ="+zone), log, log
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%q: %w", args, err)
		}
	}
	return nil
}

// same returns an error that names each file that is not the same in both directories.
func same(a, b string) error {
	names := map[string]bool{}
	for _, dir := range []string{a, b} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			names[e.Name()] = true
		}
	}
	var differ []error
	for name := range names {
		one, err1 := os.ReadFile(filepath.Join(a, name))
		other, err2 := os.ReadFile(filepath.Join(b, name))
		if err1 != nil || err2 != nil || !bytes.Equal(one, other) {
			differ = append(differ, fmt.Errorf("%s differs between two builds of the same commit (something in it depends on the directory, the time or the machine)", name))
		}
	}
	return errors.Join(differ...)
}
