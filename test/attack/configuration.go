//go:build linux

package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/test/engine"
)

//go:embed all:plugins
var pluginFiles embed.FS

// pluginTree is the directory of one of the suite's plugins.
func pluginTree(name string) (fs.FS, error) { return fs.Sub(pluginFiles, "plugins/"+name) }

// user is who the agents run as. 54321 is nobody's on any common system.
const user = 54321

// configuration is one kind of host and what is expected to hold there.
type configuration struct {
	Name  string // as it is called on the command line
	Title string // as it is called in the table
	About string // what it is like, a sentence
	Level string // the level that plugins must run at
	Most  string // security.sandbox.level, the highest to use; empty: as Level
	UID   int
	Host  string // own: namespaces of this machine; container: under an engine

	NoUserNamespaces bool   // the kernel refuses to make any
	MaskedProc       bool   // parts of /proc are covered, as container engines do
	LandlockABI      int    // pretended version; 0: the kernel's
	Grants           string // permissions of the attacker's manifest; empty: none
	Open             map[string]string
}

// spec is what a configuration's world is told.
type spec struct {
	configuration
	Dir    string   // everything is made below it
	Bin    string   // the three programs, and this one
	Python string   // interpreter
	Probes []string // only these; empty: all
	// MetadataHost is where the metadata service listens: its real address where the
	// stage could give it to the loopback device.
	MetadataHost string
	Verbose      bool
}

// worldLimit bounds one configuration: three times what it takes on two busy cores.
const worldLimit = 6 * time.Minute

// prepare makes the directory that every user can walk to, with the programs in it.
func prepare(o options) (string, error) {
	dir, err := os.MkdirTemp("/var/tmp", "stavily-a-") // not in /tmp, of which level full shows nothing: the files are to be in reach of a grant
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "bin")
	err = errors.Join(os.Chmod(dir, 0o755), os.Mkdir(bin, 0o755), copyProgram("/proc/self/exe", filepath.Join(bin, "attack")))
	for _, name := range []string{"stavily", "sensor-agent", "action-agent"} {
		err = errors.Join(err, copyProgram(filepath.Join(o.bin, name), filepath.Join(bin, name)))
	}
	if err != nil {
		os.RemoveAll(dir)
		return "", fmt.Errorf("prepare the programs (make build makes them): %w", err)
	}
	return dir, nil
}

func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close(), os.Chmod(to, 0o755))
}

// run provides a configuration, lets the probes loose in it and judges what came.
func run(ctx context.Context, o options, dir string, c configuration, probes []string) result {
	ctx, cancel := context.WithTimeout(ctx, worldLimit)
	defer cancel()
	r := result{configuration: c}
	s := spec{configuration: c, Dir: filepath.Join(dir, c.Name), Bin: filepath.Join(dir, "bin"), Python: o.python, Probes: probes, Verbose: o.verbose}
	if r.notRun = missing(c); r.notRun != "" {
		return r
	}
	if c.LandlockABI != 0 {
		s.Bin = filepath.Join(dir, fmt.Sprintf("bin-abi%d", c.LandlockABI))
		if r.err = buildForABI(ctx, filepath.Join(dir, "bin"), s.Bin, c.LandlockABI); r.err != nil {
			return r
		}
	}
	if r.err = writeSpec(s); r.err != nil {
		return r
	}
	start := inNamespaces
	if c.Host == "container" {
		start = inContainer
	}
	if r.err = start(ctx, s); r.err != nil {
		return r
	}
	text, err := limits.ReadFile(filepath.Join(s.Dir, reportFile), 16<<20)
	if err == nil {
		err = json.Unmarshal(text, &r.report)
	}
	if err != nil {
		r.err = fmt.Errorf("read what the world reports: %w", err)
		return r
	}
	r.judge()
	return r
}

// landlockSeam is the variable that pretends an older Landlock. Only the linker sets it:
// no released program can be talked into using less than its kernel has.
const landlockSeam = "github.com/stavily/agents/shared/pkg/agent.landlockABI"

// buildForABI makes a directory of programs as from, with agents that use no newer
// Landlock than version abi.
func buildForABI(ctx context.Context, from, to string, abi int) error {
	err := os.Mkdir(to, 0o755)
	for _, name := range []string{"attack", "stavily"} {
		err = errors.Join(err, os.Link(filepath.Join(from, name), filepath.Join(to, name)))
	}
	if err != nil {
		return err
	}
	said := limits.NewBuffer(16 << 10)
	build := exec.CommandContext(ctx, "go", "build", "-ldflags", fmt.Sprintf("-X %s=%d", landlockSeam, abi), "-o", to+"/",
		"github.com/stavily/agents/sensor-agent/cmd/sensor-agent", "github.com/stavily/agents/action-agent/cmd/action-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stdout, build.Stderr = said, said
	if err := build.Run(); err != nil {
		return fmt.Errorf("build agents for Landlock ABI %d: %w\n%s", abi, err, said.Bytes())
	}
	return nil
}

// missing says why a configuration cannot run here; empty when it can.
func missing(c configuration) string {
	if os.Geteuid() != 0 {
		return "needs root to make a host of its own"
	}
	if _, err := exec.LookPath("setpriv"); err != nil && c.Host == "own" {
		return "needs setpriv (package util-linux)"
	}
	if _, err := exec.LookPath("go"); err != nil && c.LandlockABI != 0 {
		return "needs go to build agents for an older Landlock"
	}
	if c.Host == "container" {
		return engine.Missing()
	}
	return ""
}

const (
	specFile   = "spec.json"
	reportFile = "report.json"
)

func writeSpec(s spec) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	err = errors.Join(os.Mkdir(s.Dir, 0o755), os.WriteFile(filepath.Join(s.Dir, specFile), text, 0o644))
	return errors.Join(err, os.Chown(s.Dir, s.UID, s.UID))
}

func readSpec(args []string) (s spec, err error) {
	if len(args) != 1 {
		return s, errors.New("a part of the suite: takes the directory of its configuration")
	}
	text, err := limits.ReadFile(filepath.Join(args[0], specFile), 1<<20)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(text, &s)
}

// inNamespaces starts a world on this machine, with processes, network, mounts and
// IPC of its own: what it leaves behind ends with its first process.
func inNamespaces(ctx context.Context, s spec) error {
	cmd := exec.CommandContext(ctx, filepath.Join(s.Bin, "attack"), "stage", s.Dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if s.NoUserNamespaces {
		// The limit is set in a user namespace of its own: in the machine's it would hold
		// for everybody.
		whole := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 65536}}
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = whole, whole
		cmd.SysProcAttr.GidMappingsEnableSetgroups = true
	}
	return finish(cmd, s)
}

// finish runs the world to its end and keeps the last of what it printed for an error.
func finish(cmd *exec.Cmd, s spec) error {
	said := limits.NewBuffer(64 << 10)
	cmd.Stdout, cmd.Stderr = said, said
	if s.Verbose {
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	}
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w\n%s", err, said.Bytes())
	}
	return nil
}
