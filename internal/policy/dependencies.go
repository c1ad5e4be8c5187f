package policy

// Dependencies gives the reason for every module that go.mod requires directly.
var Dependencies = map[string]string{
	"cel.dev/cel-go":                           "conditions of workflows: typed, without side effects, bounded in cost",
	"github.com/DeRuina/timberjack":            "log rotation by size, age and count; the maintained successor of lumberjack",
	"github.com/Masterminds/semver/v3":         "plugin versions and the ranges that ask for them",
	"github.com/aymanbagabas/go-udiff":         "differences between two texts, as git shows them: the Go project's own algorithm, kept up",
	"github.com/creachadair/jrpc2":             "JSON-RPC 2.0 on the agent socket",
	"github.com/fsnotify/fsnotify":             "told of changed files on every system, with the quirks of each handled",
	"github.com/getkin/kin-openapi":            "tests only: the OpenAPI document is valid and its examples fit",
	"github.com/google/go-cmp":                 "tests only: readable differences",
	"github.com/hiddeco/sshsig":                "SSH signatures over plugin packages, the ones of ssh-keygen -Y, so that nobody needs another kind of key",
	"github.com/oklog/ulid/v2":                 "ids that sort by time and need no coordination",
	"github.com/prometheus/client_golang":      "metrics in the format that everybody scrapes",
	"github.com/santhosh-tekuri/jsonschema/v6": "tests only: the schema of plugin.yaml that editors get agrees with what agents read",
	"github.com/spf13/cobra":                   "command lines with help and completion, without breaking dead-code elimination",
	"github.com/spf13/pflag":                   "flags of cobra, named directly where configuration registers its own",
	"go.uber.org/goleak":                       "tests only: no goroutine outlives its loop",
	"go.yaml.in/yaml/v4":                       "YAML with line and column for every mistake and bounds on depth and aliases",
	"golang.org/x/crypto":                      "OpenSSH's form of public and private keys, for the keys that sign plugin packages",
	"golang.org/x/sync":                        "errgroup, where several things must end together",
	"golang.org/x/sys":                         "system calls that package syscall does not have",
	"golang.org/x/time":                        "token buckets for rate limits",
	"honnef.co/go/tools":                       "tool: staticcheck",
	"modernc.org/sqlite":                       "SQLite without cgo, so that every platform cross-builds",
	"pgregory.net/rapid":                       "tests only: property and state-machine tests that shrink",
}
