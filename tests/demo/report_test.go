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

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
	assert.Equal(t, fields, docs)
}

func TestWrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report", "demo.json")
	require.NoError(t, (Report{AddsMS: []float64{40, 10, 20, 30}, DelsMS: []float64{7, 5, 6}, Error: "why"}).write(file))
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var got map[string]any
	require.NoError(t, json.Unmarshal(data, &got))
	for field, want := range map[string]any{"add_ms": 25.0, "del_ms": 6.0, "error": "why", "vfs_restored": false, "records_left": 0.0} {
		assert.Equal(t, want, got[field], field)
	}
}

func TestMedianOfNothing(t *testing.T) {
	assert.Zero(t, median(nil))
}
