package pyenv

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/internal/sandbox"
)

//go:embed install.py
var installScript string

//go:embed findpip.py
var findPip string

//go:embed bydescriptor.py
var byDescriptor string

// DefaultLimits are what a build may take. Building a package from source takes minutes;
// unpacked, the largest wheels of machine learning are some gigabytes.
var DefaultLimits = sandbox.Limits{
	Time: 10 * time.Minute, Memory: 2 << 30, Processes: 256, OpenFiles: 1024, TempSize: 8 << 30, TempFiles: 500_000,
}

// buildGrace is what a build gets to end: nothing of it is kept.
const buildGrace = time.Second

// install has pip install what is required into the environment in dir: from what is
// at hand, and only where that has not all of it, and the owner set an index, with that.
func (b *Builder) install(ctx context.Context, dir, final string, r *recipe, progress func(string)) error {
	work := filepath.Join(dir, workDir)
	if err := os.MkdirAll(filepath.Join(work, "tmp"), 0o700); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	pip, err := findInstaller(ctx, r.base, work)
	if err != nil {
		return err
	}
	hook, err := hookIn(work, filepath.Join(dir, filepath.FromSlash(r.base.Packages)))
	if err != nil {
		return fmt.Errorf("install: %w", err)
	}
	i := installation{b: b, recipe: r, dir: dir, work: work, final: final, pip: pip, progress: progress}
	failed, err := i.run(ctx, false)
	if failed != nil && failed.missing() && r.policy.IndexURL != "" {
		progress("not all is at hand: asking the index")
		failed, err = i.run(ctx, true)
	}
	if err != nil {
		return err
	}
	if failed != nil {
		return failed.explain(r)
	}
	if err := os.Remove(hook); err != nil && !errors.Is(err, os.ErrNotExist) { // a package may have one of this name
		return fmt.Errorf("install: %w", err)
	}
	return nil
}

// hookIn has all interpreters of a build import byDescriptor first.
func hookIn(work, packages string) (hook string, err error) {
	const module = "stavily_by_descriptor"
	if err := os.WriteFile(filepath.Join(work, module+".py"), []byte(byDescriptor), 0o644); err != nil {
		return "", err
	}
	place, err := json.Marshal(work) // a string of Python, too
	if err != nil {
		return "", err
	}
	hook = filepath.Join(packages, module+".pth")
	line := fmt.Sprintf("import sys; sys.path.insert(0, %s); import %s; sys.path.pop(0)\n", place, module)
	return hook, os.WriteFile(hook, []byte(line), 0o644)
}

// installer is pip: a directory or a wheel that holds it, and what it is read from.
type installer struct {
	path string
	code string
}

// findInstaller looks for pip where the host has it, so that no environment needs one.
// A module stands among others that are not the environment's: it is reached through a
// link that shows it alone.
func findInstaller(ctx context.Context, base Interpreter, work string) (installer, error) {
	limited, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	said, complaint := limits.NewBuffer(maxSaid), limits.NewBuffer(maxSaid)
	cmd := exec.CommandContext(limited, base.Path, "-I", "-c", findPip)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = said, complaint, time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return installer{}, ctx.Err()
		}
		return installer{}, fmt.Errorf("look for pip of %s: %w: %.200s", base.Path, err, complaint.Bytes())
	}
	var found struct{ Modules, Wheels []string }
	if err := json.Unmarshal(said.Bytes(), &found); err != nil {
		return installer{}, fmt.Errorf("look for pip of %s: it answered %.100q", base.Path, said.Bytes())
	}
	for _, module := range found.Modules {
		real, err := filepath.EvalSymlinks(module)
		if err != nil {
			continue
		}
		link := filepath.Join(work, "installer")
		if os.Mkdir(link, 0o755) == nil && os.Symlink(real, filepath.Join(link, "pip")) == nil {
			return installer{link, real}, nil
		}
	}
	for _, wheel := range found.Wheels {
		if real, err := filepath.EvalSymlinks(wheel); err == nil {
			return installer{real, real}, nil
		}
	}
	return installer{}, fmt.Errorf("%s has no pip, with which packages are installed: %s", base.Path, pipRemedy(base))
}

// pipRemedy is how to get it.
func pipRemedy(base Interpreter) string {
	if strings.HasPrefix(base.Base, "/usr/bin/") {
		for program, command := range map[string]string{"/usr/bin/apt": "apt install python3-pip", "/usr/bin/dnf": "dnf install python3-pip", "/sbin/apk": "apk add py3-pip"} {
			if _, err := os.Stat(program); err == nil {
				return command
			}
		}
	}
	return fmt.Sprintf("%s -m ensurepip", base.Base)
}

// installation is one run, or two, of pip for one environment.
type installation struct {
	b                *Builder
	recipe           *recipe
	dir, work, final string
	pip              installer
	progress         func(string)
}

// run runs pip in the sandbox. The failure is what pip says; the error, what kept it
// from running.
func (i *installation) run(ctx context.Context, online bool) (*failure, error) {
	if err := i.write(online); err != nil {
		return nil, fmt.Errorf("install: %w", err)
	}
	spec, err := i.spec(online)
	if err != nil {
		return nil, err
	}
	temp, err := os.MkdirTemp(filepath.Split(i.b.o.Temp))
	if err != nil {
		return nil, fmt.Errorf("install: %w", err)
	}
	defer os.RemoveAll(temp) // what resists is swept at the agent's next start
	if spec.Temp, err = filepath.EvalSymlinks(temp); err != nil {
		return nil, err
	}
	if u := i.b.o.User; u != nil {
		if err := errors.Join(give(i.dir, u.UID, u.GID), give(temp, u.UID, u.GID)); err != nil {
			return nil, fmt.Errorf("install: %w", err)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if i.b.o.Confine != nil {
		release, err := i.b.o.Confine(ctx, &spec, online)
		if err != nil {
			return nil, fmt.Errorf("install: %w", err)
		}
		defer release()
	}
	return i.watch(ctx, spec)
}

// Files of a build in its work directory.
const (
	requirementsFile = "requirements.txt"
	constraintsFile  = "constraints.txt"
)

// write writes what pip is to install. The index stands there, and not among pip's
// arguments, because it may hold a password and arguments are seen by all.
func (i *installation) write(online bool) error {
	r := i.recipe.requirements
	lines := text(r.entries)
	if online {
		lines += "--index-url " + i.recipe.policy.IndexURL + "\n"
	}
	for name, content := range map[string]string{requirementsFile: lines, constraintsFile: text(r.constraints)} {
		path := filepath.Join(i.work, name)
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // the last run may have been somebody else
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil { // as short-lived as the build
			return err
		}
	}
	return nil
}

// arguments of pip.
func (i *installation) arguments(online bool) []string {
	out := []string{
		"install", "--isolated", "--no-input", "--disable-pip-version-check", "--no-color", "--progress-bar", "off", "--retries", "1",
		"--no-cache-dir", "--no-compile", "--no-warn-script-location", "--requirement", filepath.Join(i.work, requirementsFile),
	}
	if len(i.recipe.requirements.constraints) > 0 {
		out = append(out, "--constraint", filepath.Join(i.work, constraintsFile))
	}
	for _, dir := range i.recipe.places() {
		out = append(out, "--find-links", dir)
	}
	if !online {
		out = append(out, "--no-index")
	}
	if !i.recipe.policy.AllowSdist {
		out = append(out, "--only-binary", ":all:")
	}
	return out
}

// places are the directories that hold what is at hand.
func (r *recipe) places() []string {
	var out []string
	for _, a := range r.artifacts {
		if !slices.Contains(out, a.dir) {
			out = append(out, a.dir)
		}
	}
	return out
}

// spec is the order for the sandbox: what is written is the environment and a private
// directory, and nothing else.
func (i *installation) spec(online bool) (sandbox.Spec, error) {
	base := i.recipe.base
	order, err := json.Marshal(map[string]any{
		"pip": i.pip.path, "arguments": i.arguments(online),
		"packages": filepath.Join(i.dir, filepath.FromSlash(base.Packages)), "final": filepath.Join(i.final, filepath.FromSlash(base.Packages)),
	})
	if err != nil {
		return sandbox.Spec{}, err
	}
	env, err := sandbox.Environment{Home: i.work, Temp: filepath.Join(i.work, "tmp")}.List()
	if err != nil {
		return sandbox.Spec{}, err
	}
	program := filepath.Join(i.dir, filepath.FromSlash(interpreterIn))
	return sandbox.Spec{
		Path: program, Args: []string{program, "-I", "-u", "-c", installScript, string(order)}, Dir: i.dir,
		Env:  append(env, "PIP_CONFIG_FILE="+os.DevNull),
		Code: append(slices.Clone(base.Prefix), i.pip.code), Read: i.recipe.places(), Home: i.dir,
		Limits: i.b.o.Limits,
		Grace:  buildGrace,
	}, nil
}

// maxLine of what pip says, maxOutput of it that is kept.
const (
	maxLine   = 2 << 10
	maxOutput = 256 << 10
)

// watch starts the process and hears what it says.
func (i *installation) watch(ctx context.Context, spec sandbox.Spec) (*failure, error) {
	out, theirs, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("install: %w", err)
	}
	defer out.Close()
	spec.Stdout, spec.Stderr = theirs, theirs
	process, err := sandbox.Start(ctx, spec)
	theirs.Close()
	if err != nil {
		return nil, fmt.Errorf("install: %w", err)
	}
	heard := make(chan string, 1)
	go func() { heard <- i.hear(out) }()
	exit, err := process.Wait()
	out.SetReadDeadline(time.Now().Add(buildGrace)) // nobody is left who writes
	said := <-heard
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, fmt.Errorf("install: %w", err)
	case exit.Success():
		return nil, nil
	}
	i.b.o.Log.Debug("pip failed", "exit", exit.String(), "output", said)
	return &failure{output: said, exit: exit}, nil
}

// hear reads what pip says to its end, tells how far it is, and keeps the last of it.
func (i *installation) hear(r io.Reader) string {
	lines := limits.NewLineReader(r, maxLine)
	var kept bytes.Buffer
	for {
		raw, _, err := lines.Next()
		if err != nil {
			return kept.String()
		}
		line := i.recipe.redact(strings.ToValidUTF8(string(raw), "\uFFFD"))
		if kept.Len() > maxOutput {
			kept.Next(maxOutput / 2) // the reason stands at the end
		}
		kept.WriteString(line + "\n")
		if what, found := strings.CutPrefix(line, "Collecting "); found { // of an index
			i.progress("taking " + what)
		}
		if what, found := strings.CutPrefix(line, "Processing "); found { // at hand
			i.progress("taking " + path.Base(filepath.ToSlash(what)))
		}
		if strings.HasPrefix(line, "Installing collected packages") || line == "Compiling" {
			i.progress(strings.ToLower(line[:1]) + line[1:])
		}
	}
}
