package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// versionForm is Semantic Versioning 2.0.0 with a v, as Go and krew want it, without build
// metadata, for which an image's tag has no sign.
var versionForm = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-(0|[1-9]\d*|\d*[a-zA-Z-][\da-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][\da-zA-Z-]*))*)?$`)

// changelog is where the notes of all versions are.
const changelog = ".github/CHANGELOG.md"

// prepare checks that a release can be made, and returns it. All that is in the way is
// reported at once.
func prepare(ctx context.Context, root, version string, dirty bool) (release, error) {
	r := release{version: version, root: root}
	var problems []error
	if !versionForm.MatchString(version) {
		problems = append(problems, fmt.Errorf("version is %q, want one such as v0.3.0 or v0.3.0-rc.1 (make release VERSION=v0.3.0)", version))
	}
	text, err := os.ReadFile(filepath.Join(root, changelog))
	problems = append(problems, err)
	if r.notes = section(string(text), version); r.notes == "" {
		problems = append(problems, fmt.Errorf("%s has no section %q with text below it (write it, from what stands under Unreleased)", changelog, "## "+version))
	}
	changes, err := git(ctx, root, "status", "--porcelain")
	problems = append(problems, err)
	r.revision, err = git(ctx, root, "rev-parse", "HEAD")
	problems = append(problems, err)
	if changes != "" {
		r.revision += "-dirty"
	}
	if changes != "" && !dirty {
		problems = append(problems, fmt.Errorf("the checkout has changes that are in no commit (commit them; for a trial, make release DIRTY=1):\n%s", changes))
	}
	at, err := git(ctx, root, "show", "-s", "--format=%ct", "HEAD")
	problems = append(problems, err)
	seconds, _ := strconv.ParseInt(at, 10, 64)
	r.time = time.Unix(seconds, 0).UTC()
	return r, errors.Join(problems...)
}

// section returns the text below the heading of a version, without blank lines around it.
func section(text, version string) string {
	_, below, found := strings.Cut("\n"+text, "\n## "+version+"\n")
	if !found {
		return ""
	}
	own, _, _ := strings.Cut(below, "\n## ")
	return strings.TrimSpace(own)
}

// newest returns the first version that the changelog has a section of, or "".
func newest(text string) string {
	for line := range strings.Lines(text) {
		if version, is := strings.CutPrefix(strings.TrimSpace(line), "## "); is && versionForm.MatchString(version) {
			return version
		}
	}
	return ""
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return "", fmt.Errorf("git %s in %s: %w: %s (a release is made from a clone with its commits)", strings.Join(args, " "), dir, err, strings.TrimSpace(string(exit.Stderr)))
	}
	return strings.TrimSpace(string(out)), err
}
