package agent

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

const (
	// keptResults and keptResultsFor bound the results that are too large for the wire and
	// stand whole in files: people look at them soon or never.
	keptResults    = 64 << 20
	keptResultsFor = 7 * 24 * time.Hour

	resultPrefix, resultSuffix = "result-", ".json" // of their names
)

// KeepWhole keeps the data of a result, of which secrets are gone already, as a file of that name on
// this host (result-NAME.json) for a while, and returns the marker that stands for it. Why is empty
// where the size is the reason.
func (rt *Runtime) KeepWhole(name string, data json.RawMessage, why string) json.RawMessage {
	marker := map[string]any{"truncated": true, "bytes": len(data)}
	if why != "" {
		marker["reason"] = why
	}
	if file, err := rt.keepResult(name, data); err != nil {
		rt.Log.Error("the data of a result is not kept", "name", name, telemetry.KeyError, err)
		marker["error"] = err.Error()
	} else {
		marker["file"] = file
	}
	text, err := api.Marshal(marker)
	if err != nil { // texts and numbers always marshal
		return json.RawMessage(`{"truncated":true}`)
	}
	return text
}

// keepResult writes a result that is too large for the wire into a file, and removes others
// for which there is no room beside it.
func (rt *Runtime) keepResult(name string, data json.RawMessage) (file string, err error) {
	dir := rt.DataDir("cache")
	file = filepath.Join(dir, resultPrefix+name+resultSuffix)
	if err := atomicfile.Write(file, data, 0o600); err != nil {
		return "", err
	}
	if err := sweepResults(dir, filepath.Base(file), time.Now()); err != nil {
		rt.Log.Warn("old results are not removed", telemetry.KeyError, err)
	}
	return file, nil
}

// sweepResults removes the results in dir that are too old, and the oldest of those that are too
// many bytes together. The one named newest counts and stays. It may be called concurrently.
func sweepResults(dir, newest string, now time.Time) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("sweep results: %w", err)
	}
	var results []fs.FileInfo
	for _, e := range entries {
		name := e.Name()
		info, err := e.Info()
		if err == nil && info.Mode().IsRegular() && strings.HasPrefix(name, resultPrefix) && strings.HasSuffix(name, resultSuffix) {
			results = append(results, info)
		}
	}
	rank := func(f fs.FileInfo) int {
		if f.Name() == newest {
			return 0
		}
		return 1
	}
	slices.SortFunc(results, func(a, b fs.FileInfo) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), b.ModTime().Compare(a.ModTime()))
	})
	var size int64
	var failed []error
	for _, f := range results {
		size += f.Size()
		if f.Name() == newest || size <= keptResults && now.Sub(f.ModTime()) <= keptResultsFor {
			continue
		}
		if err := os.Remove(filepath.Join(dir, f.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, fmt.Errorf("sweep results: %w", err))
		}
	}
	return errors.Join(failed...)
}
