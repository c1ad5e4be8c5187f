package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/stavily/agents/internal/limits"
)

// Build compiles the three programs of the module that the current directory is in into
// dir, for a Cluster's Options.Bin. It takes the go command that is on the path.
func Build(dir string) error {
	const module = "github.com/stavily/agents/"
	build := exec.Command("go", "build", "-o", dir+string(filepath.Separator),
		module+"sensor-agent/cmd/sensor-agent", module+"action-agent/cmd/action-agent", module+"orchestrator/cmd/stavily")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	said := limits.NewBuffer(64 << 10)
	build.Stdout, build.Stderr = said, said
	if err := build.Run(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, said.Bytes())
	}
	return nil
}
