package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// licencesFile is what each archive of programs and the image have beside LICENSE: BSD, MIT
// and ISC want their texts with each copy of a program, Apache-2.0 (section 4) its text and
// the NOTICE of a work.
const licencesFile = "LICENSES"

// licenceForm matches the names of files with a licence, a copyright or a notice.
var licenceForm = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)([-._].*)?$`)

// standardLibrary begins the name of Go's own library, which a version follows.
const standardLibrary = "Go "

// licences returns the licences and notices of Go's standard library and of all modules that
// are compiled into programs, each text once. They are those of the module cache.
func (r release) licences(ctx context.Context, programs []program) ([]byte, error) {
	dirs, err := r.moduleDirs(ctx, programs)
	if err != nil {
		return nil, err
	}
	of := map[string][]string{} // by text, whose it is
	for _, module := range slices.Sorted(maps.Keys(dirs)) {
		texts, err := licencesBelow(dirs[module], strings.HasPrefix(module, standardLibrary))
		if err != nil {
			return nil, err
		}
		if len(texts) == 0 {
			return nil, fmt.Errorf("module %s has no licence in %s (ask its authors, or do without it: a program that has it must not be passed on)", module, dirs[module])
		}
		for _, file := range slices.Sorted(maps.Keys(texts)) {
			of[texts[file]] = append(of[texts[file]], module+" "+file)
		}
	}
	var out bytes.Buffer
	out.WriteString("Licences and notices of the modules in these programs, each text once, after a list of whose it is.\n")
	for _, text := range slices.SortedFunc(maps.Keys(of), func(a, b string) int { return strings.Compare(of[a][0], of[b][0]) }) {
		fmt.Fprintf(&out, "\n%s\n\n  %s\n\n%s\n", strings.Repeat("=", 80), strings.Join(of[text], "\n  "), text)
	}
	return out.Bytes(), nil
}

// writeLicences writes those of the programs of nodes beside them, and returns the file.
func (r release) writeLicences(ctx context.Context, dir string) (file string, err error) {
	var programs []program
	for _, name := range nodePrograms {
		p, err := readProgram(name, filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		programs = append(programs, p)
	}
	text, err := r.licences(ctx, programs)
	if err != nil {
		return "", err
	}
	file = filepath.Join(dir, licencesFile)
	return file, os.WriteFile(file, text, 0o644)
}

// moduleDirs returns where the modules of programs are, by name and version.
func (r release) moduleDirs(ctx context.Context, programs []program) (map[string]string, error) {
	root, err := r.goCommand(ctx, "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	dirs := map[string]string{}
	var names []string
	for _, p := range programs {
		dirs[standardLibrary+strings.TrimPrefix(p.info.GoVersion, "go")] = root
		for _, m := range p.info.Deps {
			names = append(names, m.Path)
		}
	}
	if len(names) == 0 {
		return dirs, nil
	}
	slices.Sort(names)
	args := append([]string{"list", "-m", "-f", "{{.Path}} {{.Version}}\t{{.Dir}}"}, slices.Compact(names)...)
	list, err := r.goCommand(ctx, args...)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(list) {
		module, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
		dirs[module] = dir
	}
	return dirs, nil
}

// goCommand returns what a command of Go prints in the checkout.
func (r release) goCommand(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = r.root
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args[:min(len(args), 3)], " "), err, said.String())
	}
	return strings.TrimSpace(out.String()), nil
}

// licencesBelow returns the texts of all licences of a module, by their paths in it: code
// that was taken over from elsewhere has its own beside it. flat looks only at the top.
func licencesBelow(dir string, flat bool) (map[string]string, error) {
	texts := map[string]string{}
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || file == dir {
			return err
		}
		if d.IsDir() {
			if flat || d.Name() == "testdata" || d.Name() == "vendor" {
				return filepath.SkipDir
			}
			return nil
		}
		if !licenceForm.MatchString(d.Name()) || filepath.Ext(file) == ".go" {
			return nil
		}
		text, err := os.ReadFile(file)
		below, _ := filepath.Rel(dir, file)
		texts[filepath.ToSlash(below)] = strings.TrimSpace(strings.ReplaceAll(string(text), "\r\n", "\n"))
		return err
	})
	return texts, err
}
