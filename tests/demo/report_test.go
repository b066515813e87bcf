package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Every field is defined in the report itself, and no other is.
func TestFieldDocs(t *testing.T) {
	var fields []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Report]()) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "fields" {
			fields = append(fields, name)
		}
	}
	docs := slices.Sorted(maps.Keys(fieldDocs))
	slices.Sort(fields)
	if !slices.Equal(docs, fields) {
		t.Errorf("defined are %q, the report has %q", docs, fields)
	}
}

func TestWrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report", "demo.json")
	if err := (Report{AddsMS: []float64{40, 10, 20, 30}, DelsMS: []float64{7, 5, 6}, Error: "why"}).write(file); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]any{"add_ms": 25.0, "del_ms": 6.0, "error": "why", "vfs_restored": false, "records_left": 0.0} {
		if got[field] != want {
			t.Errorf("%s: got %v, want %v", field, got[field], want)
		}
	}
}

func TestMedianOfNothing(t *testing.T) {
	if got := median(nil); got != 0 {
		t.Errorf("got %v, want 0", got)
	}
}
