package main

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// programs are the contents of programs that were built elsewhere, by their names
// in binDir.
type programs map[string][]byte

// readPrograms reads the programs that the flags name; an empty path names none.
// The paths may be in directories that mountPrivate hides. The error has all
// problems.
func readPrograms(bondCNI, sriov, other string) (programs, error) {
	all := programs{}
	var errs []error
	for _, p := range []struct{ name, flag, path, module string }{
		{"bond", "-bond-cni", bondCNI, bondCNIModule},
		{"sriov", "-sriov", sriov, sriovModule},
		{"other", "-other", inDir(other, "multibond"), ownModule},
		{"other-agent", "-other", inDir(other, "multibond-agent"), ownModule},
	} {
		if p.path == "" {
			continue
		}
		content, err := readProgram(p.path, p.module)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %s: %w", p.flag, p.path, err))
		}
		all[p.name] = content
	}
	return all, errors.Join(errs...)
}

// inDir returns the path of a file in a directory, or none without a directory.
func inDir(dir, file string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, file)
}

// readProgram reads a program that can run in the lab's VM, and that was built
// from a module.
func readProgram(path, module string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if cause := new(os.PathError); errors.As(err, &cause) {
		err = cause.Err // the caller has the path
	}
	if err == nil {
		err = checkProgram(bytes.NewReader(content), module)
	}
	if err != nil {
		return nil, fmt.Errorf("%w; give the path of a static program that was built from %s", err, module)
	}
	return content, nil
}

func checkProgram(r io.ReaderAt, module string) error {
	file, err := elf.NewFile(r)
	if err != nil {
		return fmt.Errorf("not an ELF program: %w", err)
	}
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			loader, err := io.ReadAll(p.Open())
			return errors.Join(err, fmt.Errorf("the program needs %s, which the lab's VM does not have", strings.TrimRight(string(loader), "\x00")))
		}
	}
	info, err := buildinfo.Read(r)
	if err != nil {
		return err
	}
	_, err = versionIn(info, module)
	return err
}
