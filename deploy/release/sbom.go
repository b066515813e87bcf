package main

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"fmt"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// program is a compiled one, whose modules Go has written into it.
type program struct {
	name   string
	sha256 string
	info   *debug.BuildInfo
}

func readProgram(name, file string) (program, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return program{}, err
	}
	info, err := buildinfo.ReadFile(file)
	return program{name, fmt.Sprintf("%x", sha256.Sum256(data)), info}, err
}

// spdx is a document of SPDX 2.3, as far as it is needed here. The names are those of its
// JSON schema.
type spdx struct {
	Version       string         `json:"spdxVersion"`
	DataLicense   string         `json:"dataLicense"`
	ID            string         `json:"SPDXID"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	Creation      spdxCreation   `json:"creationInfo"`
	Packages      []spdxPackage  `json:"packages"`
	Relationships []spdxRelation `json:"relationships"`
}

type spdxCreation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	ID               string         `json:"SPDXID"`
	Name             string         `json:"name"`
	Version          string         `json:"versionInfo"`
	Purpose          string         `json:"primaryPackagePurpose"`
	DownloadLocation string         `json:"downloadLocation"`
	FilesAnalyzed    bool           `json:"filesAnalyzed"`
	SourceInfo       string         `json:"sourceInfo,omitempty"`
	Checksums        []spdxChecksum `json:"checksums,omitempty"`
	LicenseConcluded string         `json:"licenseConcluded"`
	LicenseDeclared  string         `json:"licenseDeclared"`
	Copyright        string         `json:"copyrightText"`
	References       []spdxExternal `json:"externalRefs,omitempty"`
}

type spdxChecksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type spdxExternal struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type spdxRelation struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

const (
	spdxDocument = "SPDXRef-DOCUMENT"
	unknown      = "NOASSERTION" // SPDX's word for what was not looked into
)

// sbom returns the bill of materials of programs: they are what the document describes, and
// each depends on its modules and on Go's standard library.
func (r release) sbom(name string, programs []program) spdx {
	d := spdx{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: spdxDocument, Name: name + " " + r.version,
		Creation: spdxCreation{r.time.Format(time.RFC3339), []string{"Organization: Multibond", "Tool: multibond-release-" + r.version}},
	}
	all := sha256.New()
	modules := map[string]spdxPackage{}
	for _, p := range programs {
		fmt.Fprintln(all, p.name, p.sha256)
		own := r.packageOf(p)
		d.Packages = append(d.Packages, own)
		d.Relationships = append(d.Relationships, spdxRelation{spdxDocument, "DESCRIBES", own.ID})
		for _, m := range modulesOf(p.info) {
			modules[m.ID] = m
			d.Relationships = append(d.Relationships, spdxRelation{own.ID, "DEPENDS_ON", m.ID})
		}
	}
	for _, m := range modules {
		d.Packages = append(d.Packages, m)
	}
	slices.SortFunc(d.Packages, func(a, b spdxPackage) int { return cmp.Compare(a.ID, b.ID) })
	// The namespace has to be another one for each other document, and the same for the same.
	d.Namespace = fmt.Sprintf("%s/spdx/%s/%s-%x", source, r.version, name, all.Sum(nil)[:16])
	return d
}

func (r release) packageOf(p program) spdxPackage {
	return spdxPackage{
		ID: spdxID("Program", p.name), Name: p.name, Version: r.version, Purpose: "APPLICATION",
		DownloadLocation: r.url(""), SourceInfo: "commit " + r.revision,
		Checksums:        []spdxChecksum{{"SHA256", p.sha256}},
		LicenseConcluded: licence, LicenseDeclared: licence, Copyright: unknown,
		References: []spdxExternal{{"PACKAGE-MANAGER", "purl", purl(p.info.Main.Path, r.version)}},
	}
}

// modulesOf returns the modules of a program and Go's standard library, which scanners know
// by the name stdlib.
func modulesOf(info *debug.BuildInfo) (out []spdxPackage) {
	modules := []*debug.Module{{Path: "stdlib", Version: strings.TrimPrefix(info.GoVersion, "go")}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		modules = append(modules, m)
	}
	for _, m := range modules {
		p := spdxPackage{
			ID: spdxID("Module", m.Path+"-"+m.Version), Name: m.Path, Version: m.Version, Purpose: "LIBRARY",
			DownloadLocation: unknown, LicenseConcluded: unknown, LicenseDeclared: unknown, Copyright: unknown,
			References: []spdxExternal{{"PACKAGE-MANAGER", "purl", purl(m.Path, m.Version)}},
		}
		if m.Sum != "" {
			p.SourceInfo = "go.sum " + m.Sum
		}
		out = append(out, p)
	}
	return out
}

var notInID = regexp.MustCompile(`[^a-zA-Z0-9.-]+`)

func spdxID(kind, name string) string {
	return "SPDXRef-" + kind + "-" + notInID.ReplaceAllString(name, "-")
}

// purl returns the package URL of a module (purl-spec, golang): in lower case, a plus sign
// of the version encoded.
func purl(path, version string) string {
	return "pkg:golang/" + strings.ToLower(path) + "@" + strings.ReplaceAll(version, "+", "%2B")
}
