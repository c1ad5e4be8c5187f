package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// hostOf are the commands that work on the data of this host, by what they work on: of a context
// they would read, or change, another server than the one that was named.
var hostOf = map[string]string{
	"server":       "the data directory of this host",
	"audit verify": "the database of this host",
	"backup":       "the database of this host",
	"fsck":         "the database of this host",
	"migrate":      "the database of this host",
	"restore":      "the database of this host",
}

// serverless are those that work on no server at all. A context in the environment is for the
// commands beside them; on the command line it says that something else is expected.
var serverless = map[string]string{
	"context":            "the contexts of this user",
	"demo":               "a server of its own",
	"dev":                "a server of its own",
	"keys":               "files",
	"login":              "the server of --url, or of the context that it is given as an argument",
	"plugin":             "files",
	"version":            "this program",
	"workflows graph":    "files",
	"workflows schema":   "files",
	"workflows test":     "files",
	"workflows validate": "files",
}

// refuseContext refuses a context where a command, or the one that it belongs to, has no use for it.
func (o *options) refuseContext(c *cobra.Command) error {
	for one := c; one.HasParent(); one = one.Parent() {
		name := pathIn(one)
		what, is := hostOf[name]
		by := o.chosen.by
		if !is {
			if what, is = serverless[name]; by == envContext {
				by = ""
			}
		}
		if is && by != "" {
			return usageError{fmt.Errorf("%s works on %s and not with a context: leave out %s", pathIn(c), what, by)}
		}
	}
	return nil
}

// pathIn is how a command is called after the program's own name.
func pathIn(c *cobra.Command) string {
	_, path, _ := strings.Cut(c.CommandPath(), " ")
	return path
}
