package pyenv

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/stavily/agents/internal/limits"
)

// Bounds of a plugin's requirements. Lock files of large applications have a few
// hundred entries with a dozen hashes each.
const (
	maxRequirementsFile = 1 << 20
	maxRequirements     = 10_000
	maxIncludes         = 20
)

// requirements are a requirements file of a plugin with all that it includes, in the
// form that is given to pip: one entry a line.
type requirements struct {
	entries     []entry
	constraints []entry
	notes       []string // what is not done as it is written
}

// entry is one line for pip and where it stands in the plugin, for messages.
type entry struct {
	text string
	at   string // file:line
}

// text is the file for pip.
func text(entries []entry) string {
	var b strings.Builder
	for _, e := range entries {
		b.WriteString(e.text + "\n")
	}
	return b.String()
}

// readRequirements reads the file with this name in the plugin's directory.
func readRequirements(root *os.Root, name string) (requirements, error) {
	r := requirementsReader{root: root, seen: map[string]bool{}}
	err := r.file(name, false)
	return r.out, err
}

type requirementsReader struct {
	root *os.Root
	seen map[string]bool // files, with what they are included as
	out  requirements
}

// file reads one file; constraint says that it is one of constraints.
func (r *requirementsReader) file(name string, constraint bool) error {
	key := fmt.Sprint(name, constraint)
	if r.seen[key] {
		return nil
	}
	if r.seen[key] = true; len(r.seen) > maxIncludes {
		return fmt.Errorf("%s: %w: more than %d files of requirements", name, limits.ErrTooLarge, maxIncludes)
	}
	src, err := limits.ReadFileIn(r.root, filepath.FromSlash(name), maxRequirementsFile)
	if err != nil {
		return fmt.Errorf("read requirements: %w", err)
	}
	for _, e := range logicalLines(name, string(src)) {
		if err := r.line(name, e, constraint); err != nil {
			return fmt.Errorf("%s: %w", e.at, err)
		}
	}
	return nil
}

var comment = regexp.MustCompile(`(^|\s)#.*$`)

// logicalLines joins what a backslash continues and drops comments, as pip does.
func logicalLines(name, src string) []entry {
	var out []entry
	var pending string
	at := 0
	for n, line := range strings.Split(strings.TrimPrefix(src, "\ufeff"), "\n") {
		line = strings.TrimRight(comment.ReplaceAllString(strings.TrimSuffix(line, "\r"), ""), " \t")
		if pending == "" {
			at = n + 1
		}
		if more, found := strings.CutSuffix(line, `\`); found {
			pending += more + " "
			continue
		}
		if whole := strings.Join(strings.Fields(pending+line), " "); whole != "" {
			out = append(out, entry{whole, fmt.Sprintf("%s:%d", name, at)})
		}
		pending = ""
	}
	if whole := strings.Join(strings.Fields(pending), " "); whole != "" {
		out = append(out, entry{whole, fmt.Sprintf("%s:%d", name, at)})
	}
	return out
}

// Options of a requirements file. Where packages come from is for the host's owner to
// say, not for a plugin.
var (
	including = map[string]bool{"-r": false, "--requirement": false, "-c": true, "--constraint": true}
	passed    = []string{"--require-hashes", "--pre", "--prefer-binary"}
	ignored   = []string{"-i", "--index-url", "--extra-index-url", "--no-index", "-f", "--find-links", "--trusted-host", "--no-binary", "--only-binary"}
)

var optionName = regexp.MustCompile(`^(--[a-z-]+|-[a-z])(=|\s|$)\s*(.*)$`)

// line takes one logical line.
func (r *requirementsReader) line(file string, e entry, constraint bool) error {
	if len(r.out.entries)+len(r.out.constraints) >= maxRequirements {
		return fmt.Errorf("%w: more than %d requirements", limits.ErrTooLarge, maxRequirements)
	}
	if m := optionName.FindStringSubmatch(e.text); m != nil {
		return r.option(file, e, m[1], strings.TrimSpace(m[3]), constraint)
	}
	if err := checkRequirement(e.text); err != nil {
		return err
	}
	r.add(e, constraint)
	return nil
}

func (r *requirementsReader) add(e entry, constraint bool) {
	if constraint {
		r.out.constraints = append(r.out.constraints, e)
	} else {
		r.out.entries = append(r.out.entries, e)
	}
}

func (r *requirementsReader) option(file string, e entry, name, value string, constraint bool) error {
	if asConstraint, found := including[name]; found {
		to := path.Join(path.Dir(file), value)
		if value == "" || path.IsAbs(value) || !filepath.IsLocal(filepath.FromSlash(to)) {
			return fmt.Errorf("%q leads out of the plugin's directory: name a file in it", value)
		}
		return r.file(to, constraint || asConstraint)
	}
	for _, known := range passed {
		if name == known {
			r.add(e, constraint)
			return nil
		}
	}
	for _, known := range ignored {
		if name == known { // without its value, which may hold a credential
			r.out.notes = append(r.out.notes, fmt.Sprintf("%s: %s is ignored: plugins.python of this agent says where packages come from", e.at, name))
			return nil
		}
	}
	if name == "-e" || name == "--editable" {
		return errors.New("an editable requirement cannot be installed: build a wheel of it (pip wheel) and put that into the plugin's wheels/")
	}
	return fmt.Errorf("%s is not an option that a plugin's requirements can have: remove it", name)
}

// requirementForm is a requirement by name (PEP 508): name, extras, versions, and
// markers, which pip judges.
var requirementForm = regexp.MustCompile(`^` + projectPattern + ` ?(?:\[[A-Za-z0-9._, -]*\])? ?(?:` + versionsPattern + `|\( ?` + versionsPattern + ` ?\))? ?(?:;.*)?$`)

const (
	projectPattern  = `[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?`
	versionPattern  = `(?:===|==|~=|!=|<=|>=|<|>) ?[A-Za-z0-9.*+!_-]+`
	versionsPattern = versionPattern + `(?: ?, ?` + versionPattern + `)*`
)

// checkRequirement refuses what is not looked up by its name: places are not a
// plugin's to choose.
func checkRequirement(line string) error {
	what, options, _ := strings.Cut(line, " --")
	if strings.Contains(what, "://") || strings.ContainsAny(what, `/\`) || strings.HasPrefix(what, ".") {
		return errors.New("a requirement by its place (a URL, a repository, a path) cannot be installed: put a wheel of it into the plugin's wheels/ and name it with its version")
	}
	if !requirementForm.MatchString(what) {
		return fmt.Errorf("%.80q is not a requirement: write for example name==1.2.3", what)
	}
	for option := range strings.SplitSeq(options, " --") {
		if option != "" && !strings.HasPrefix(option, "hash=") && !strings.HasPrefix(option, "hash ") {
			return fmt.Errorf("--%.40s: the only option that a requirement can have is --hash", option)
		}
	}
	return nil
}

// projectName is the name that a requirement or a file begins with, in its normal form
// (PEP 503).
func projectName(requirement string) string {
	m := projectForm.FindString(requirement)
	return strings.ToLower(separators.ReplaceAllString(m, "-"))
}

var (
	projectForm = regexp.MustCompile(`^` + projectPattern)
	separators  = regexp.MustCompile(`[-_.]+`)
)
