package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/limits"
)

// maxRemembered is far more than a fact about each of a thousand monitors takes.
const maxRemembered = 1 << 20

// Remember keeps what a role has to know after a restart, under a name of its own.
func (rt *Runtime) Remember(name string, v any) error {
	text, err := json.Marshal(v)
	if err == nil {
		err = atomicfile.Write(filepath.Join(rt.DataDir("state"), name+".json"), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("remember %s: %w", name, err)
	}
	return nil
}

// Recall reads into v what was remembered; where there is nothing it leaves v alone.
func (rt *Runtime) Recall(name string, v any) error {
	text, err := limits.ReadFile(filepath.Join(rt.DataDir("state"), name+".json"), maxRemembered)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = limits.UnmarshalJSON(text, v)
	}
	if err != nil {
		return fmt.Errorf("recall %s: %w", name, err)
	}
	return nil
}
