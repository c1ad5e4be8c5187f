package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/limits"
)

// On Windows a symbolic link takes a privilege that a service need not have: active is
// a file that holds the name.

func readActive(dir string) (string, error) {
	text, err := limits.ReadFile(filepath.Join(dir, activeName), 1<<10)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	name := strings.TrimSpace(string(text))
	if err == nil && !versionName.MatchString(name) {
		err = fmt.Errorf("it names %.80q", name)
	}
	return name, err
}

func writeActive(dir, name string) error {
	return atomicfile.Write(filepath.Join(dir, activeName), []byte(name+"\n"), 0o600)
}

func removeActive(dir string) error { return os.RemoveAll(filepath.Join(dir, activeName)) }
