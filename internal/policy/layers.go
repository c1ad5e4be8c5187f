package policy

// Module is the path of this module.
const Module = "github.com/stavily/agents"

// Layer says what the packages below a directory may import of ours.
type Layer struct {
	Prefix string   // directory, relative to the module
	May    []string // directories below which imports are allowed; its own is always
}

// Layers is the whole table. The longest matching prefix counts; a directory that
// none matches fails the test, so a new one needs a row.
var Layers = []Layer{
	{"internal/limits", nil},
	{"internal/strictyaml", nil},
	{"internal/failpoint", []string{"internal/limits"}},
	{"internal/atomicfile", []string{"internal/limits", "internal/failpoint"}},
	{"internal/audit", []string{"internal/limits", "internal/atomicfile", "internal/failpoint"}},
	{"internal/pgtest", []string{"internal/limits"}},
	{"internal/removal", nil},
	{"internal/lossyfs", []string{"internal/limits"}},
	{"internal/lockfile", []string{"internal/limits"}},
	{"internal/processors", nil},
	{"internal/diskspace", nil},
	{"internal/destination", nil},
	{"internal/terminal", nil},
	{"internal/policy", nil},
	{"internal/repository", nil},
	{"internal/census", []string{"internal/limits"}},
	{"internal/simagents", []string{"internal/limits", "shared/pkg/api", "shared/pkg/pki"}},
	{"internal/cluster", []string{"internal/limits", "shared/pkg/api", "plugins"}},

	{"shared/pkg/api", []string{"internal/limits", "internal/failpoint"}},
	{"shared/pkg/pki", []string{"shared/pkg/api", "internal"}},
	{"shared/pkg/config", []string{"shared/pkg/api", "shared/pkg/bundle", "shared/pkg/trace", "internal"}},
	{"shared/pkg/plugin", []string{"shared/pkg/api", "internal"}},
	{"shared/pkg/bundle", []string{"shared/pkg/api", "shared/pkg/plugin", "internal"}},
	{"shared/pkg/sealed", []string{"shared/pkg/api", "internal"}},
	{"shared/pkg/telemetry", []string{"internal"}},
	{"shared/pkg/trace", []string{"internal"}},
	{"shared/internal", []string{"shared/pkg/api", "shared/pkg/plugin", "shared/pkg/bundle", "internal"}},
	{"shared/internal/service", []string{"deployments", "internal"}},
	{"shared/pkg/agent", []string{"shared", "internal", "sdk/python"}},

	{"sensor-agent", []string{"shared/pkg"}},
	{"action-agent", []string{"shared/pkg"}},

	{"orchestrator/internal/delivery", []string{"shared/pkg/api"}},
	{"orchestrator/internal/instruction", []string{"shared/pkg/api", "shared/pkg/plugin", "internal/limits"}},
	{"orchestrator/internal/diagram", nil},
	{"orchestrator/internal/workflow", []string{"shared/pkg/api", "shared/pkg/plugin", "orchestrator/internal/instruction", "orchestrator/internal/diagram", "internal"}},
	{"orchestrator/internal/depot", []string{"shared/pkg/api", "internal"}},
	{"orchestrator/internal/rollout", []string{"shared/pkg/api"}},
	{"orchestrator/internal/store", []string{"shared/pkg/api", "orchestrator/internal/delivery", "orchestrator/internal/instruction", "orchestrator/internal/rollout", "internal"}},
	{"orchestrator/internal/fsck", []string{"shared/pkg/api", "orchestrator/internal/delivery", "orchestrator/internal/instruction", "orchestrator/internal/workflow", "orchestrator/internal/store"}},
	{"orchestrator/internal/secret", []string{"shared/pkg/api", "shared/pkg/pki", "internal"}},
	{"orchestrator/internal/ca", []string{"shared/pkg/api", "shared/pkg/pki", "internal"}},
	{"orchestrator/internal/brake", nil},
	{"orchestrator/internal/handshake", []string{"shared/pkg/telemetry", "internal"}},
	{"orchestrator/internal/account", []string{"shared/pkg/api", "orchestrator/internal/store", "orchestrator/internal/brake", "internal"}},
	{"orchestrator/internal/engine", []string{"shared/pkg", "orchestrator/internal/delivery", "orchestrator/internal/instruction", "orchestrator/internal/workflow", "orchestrator/internal/store", "orchestrator/internal/depot", "orchestrator/internal/rollout", "orchestrator/internal/ca", "orchestrator/internal/account", "orchestrator/internal/brake", "orchestrator/internal/secret", "internal"}},
	{"orchestrator/simulated", []string{"shared/pkg/api", "shared/pkg/pki", "orchestrator/internal/agentapi", "orchestrator/internal/ca", "orchestrator/internal/engine", "orchestrator/internal/fsck", "orchestrator/internal/instruction", "orchestrator/internal/store"}},
	{"orchestrator/cmd", []string{"orchestrator", "kit"}},
	{"orchestrator", []string{"shared/pkg/api", "shared/pkg/pki", "shared/pkg/plugin", "shared/pkg/bundle", "shared/pkg/telemetry", "shared/pkg/trace", "orchestrator", "plugins", "internal"}},

	{"kit", []string{"shared/pkg", "sdk/python", "plugins", "internal"}},

	{"deployments", nil},
	{"deployments/package", []string{"internal/limits"}},
	{"docs/site", []string{"internal/limits"}},
	{"sdk/python", nil},
	{"plugins", nil},
	{"test/sim", []string{"shared/pkg", "orchestrator/simulated", "sensor-agent/simulated", "action-agent/simulated", "internal/limits"}},
	{"test", []string{"shared", "orchestrator", "plugins", "sdk", "internal"}},
}

// Never lists imports that no table row can allow: edges do not import each
// other, and nothing shared knows an agent.
var Never = [][2]string{
	{"shared", "sensor-agent"},
	{"shared", "action-agent"},
	{"shared", "orchestrator"},
	{"shared", "kit"},
	{"sensor-agent", "action-agent"},
	{"action-agent", "sensor-agent"},
	{"sensor-agent", "orchestrator"},
	{"action-agent", "orchestrator"},
	{"orchestrator/internal/agentapi", "orchestrator/internal/operatorapi"},
	{"orchestrator/internal/operatorapi", "orchestrator/internal/agentapi"},
	{"orchestrator/internal/web", "orchestrator/internal/operatorapi"},
	{"orchestrator/internal/web", "orchestrator/internal/agentapi"},
}
