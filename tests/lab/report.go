package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

var reports sync.Mutex

// AddToReport sets a key of the JSON object in a file of build/report, which several tests
// of a process write.
func AddToReport(file, key string, value any) error {
	reports.Lock()
	defer reports.Unlock()
	path := filepath.Join(Root(), "build", "report", file)
	all := map[string]any{}
	old, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(old, &all)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", path, err)
	}
	all[key] = value
	text, err := json.MarshalIndent(all, "", "  ")
	return errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, append(text, '\n'), 0o644))
}
