package kit

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

//go:embed templates
var templates embed.FS

func newCommand() *cobra.Command {
	var kind kindFlag
	parent := ""
	cmd := &cobra.Command{
		Use:   "new NAME --type sensor|action|output",
		Short: "Make a working plugin with a manifest, a test and a README",
		Long: `Makes the directory NAME with a plugin that works, to be changed into yours. NAME becomes the plugin's id:
1 to 63 characters of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit. What is there already is left alone.`,
		Example: "  stavily plugin new queue-length --type sensor && stavily plugin test queue-length\n  stavily plugin new restart-queue --type action --dir plugins",
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.ExactArgs(1)(cmd, args); err != nil {
				return err
			}
			if kind == "" {
				return errors.New("--type is required: sensor, action or output")
			}
			return api.PluginID(args[0]).Validate()
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			made, err := scaffold(parent, args[0], plugin.Kind(kind))
			if err != nil {
				return err
			}
			if asJSON(cmd) {
				return showJSON(cmd.OutOrStdout(), made)
			}
			p := printer{w: cmd.OutOrStdout()}
			for _, name := range made.Files {
				p.printf("%s\n", filepath.Join(made.Dir, name))
			}
			p.printf("\nNext:  stavily plugin test %s\n", made.Dir)
			return p.err
		},
	}
	cmd.Flags().Var(&kind, "type", "what it is: sensor, action or output")
	cmd.Flags().StringVar(&parent, "dir", "", "`directory` to make it in (default: the working directory)")
	return cmd
}

// kindFlag is the value of --type.
type kindFlag plugin.Kind

func (k *kindFlag) String() string { return string(*k) }
func (*kindFlag) Type() string     { return "kind" }

func (k *kindFlag) Set(text string) error {
	switch plugin.Kind(text) {
	case plugin.Sensor, plugin.Action, plugin.Output:
		*k = kindFlag(text)
		return nil
	}
	return errors.New("must be sensor, action or output")
}

// scaffolded is what `new` made.
type scaffolded struct {
	Dir   string   `json:"dir"`
	Files []string `json:"files"`
}

// subject are the names of a new plugin.
type subject struct{ ID, Title, Function, Class string }

func subjectOf(id string) subject {
	words := strings.FieldsFunc(id, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	s := subject{ID: id, Title: strings.Join(words, " "), Function: strings.Join(words, "_")}
	s.Title = strings.ToUpper(s.Title[:1]) + s.Title[1:]
	for _, w := range words {
		s.Class += strings.ToUpper(w[:1]) + w[1:]
	}
	if unicode.IsDigit(rune(id[0])) || pythonWords[s.Function] { // no name in Python
		s.Function, s.Class = "plugin_"+s.Function, "Plugin"+s.Class
	}
	s.Class += "Test"
	return s
}

// pythonWords are the names that a function of a template cannot have: keywords, and
// what the templates use themselves.
var pythonWords = func() map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields("and as assert async await break class continue def del elif else except finally for from global if import in is lambda nonlocal not or pass raise return try while with yield os open sum print str len range stavily main files_in format_line") {
		out[w] = true
	}
	return out
}()

// scaffold makes a plugin below parent.
func scaffold(parent, id string, kind plugin.Kind) (scaffolded, error) {
	made := scaffolded{Dir: filepath.Join(parent, id)}
	if err := os.Mkdir(made.Dir, 0o777); errors.Is(err, fs.ErrExist) { // as umask says: it is the developer's source
		return made, fmt.Errorf("%s is there already: choose another name, or remove it", made.Dir)
	} else if err != nil {
		return made, fmt.Errorf("make the plugin's directory: %w", err)
	}
	from := path.Join("templates", string(kind))
	entries, err := templates.ReadDir(from)
	if err != nil {
		return made, fmt.Errorf("read the templates: %w", err)
	}
	s := subjectOf(id)
	for _, e := range entries {
		name := strings.Replace(e.Name(), "test_plugin", "test_"+s.Function, 1)
		text, err := filled(path.Join(from, e.Name()), s)
		if err == nil {
			err = os.WriteFile(filepath.Join(made.Dir, name), text, 0o666)
		}
		if err != nil {
			return made, fmt.Errorf("write %s: %w", name, err)
		}
		made.Files = append(made.Files, name)
	}
	return made, nil
}

// filled is a template with the names of a plugin. It is no text/template, with which the
// linker has to keep every method of the program: 5 MB.
func filled(name string, s subject) ([]byte, error) {
	text, err := templates.ReadFile(name)
	names := strings.NewReplacer("[[id]]", s.ID, "[[title]]", s.Title, "[[function]]", s.Function, "[[class]]", s.Class)
	return []byte(names.Replace(string(text))), err
}
