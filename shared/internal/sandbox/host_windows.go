package sandbox

import (
	"context"
	"fmt"
	"hash/fnv"
	"os"

	"golang.org/x/sys/windows"

	"github.com/stavily/agents/shared/pkg/api"
)

// Main turns this process into the probe that it was started as, and then never
// returns. It must be the first statement of main. In every other process it does
// nothing; a Job Object needs neither launcher nor keeper.
func Main() {
	if len(os.Args) == 1 && os.Args[0] == probeName {
		probeMain()
	}
}

// exitLauncher is the exit code of a probe that could not try.
const exitLauncher = 125

// spareDir would be in memory, which has no directory here.
const spareDir = ""

// key names everything that a result depends on: the system, this program, and its
// rights.
func (o ProbeOptions) key() string {
	h := fnv.New128a()
	fmt.Fprint(h, *windows.RtlGetVersion(), o.Highest, o.Dir, os.Getenv("USERNAME"), windows.GetCurrentProcessToken().IsElevated())
	if path, err := executablePath(); err == nil {
		if info, err := os.Stat(path); err == nil {
			fmt.Fprint(h, info.Size(), info.ModTime().UnixNano())
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// probe tries level limited, which is all that there is, with the low integrity level
// and without.
func (o ProbeOptions) probe(ctx context.Context) (*Host, error) {
	v := windows.RtlGetVersion()
	h := &Host{Level: None, Kernel: fmt.Sprintf("%d.%d.%d", v.MajorVersion, v.MinorVersion, v.BuildNumber), Missing: map[string]string{}}
	if o.Highest != "" && !o.Highest.AtLeast(Limited) {
		return h, nil
	}
	b, err := openBait(o.Dir)
	if err != nil {
		return nil, err
	}
	defer b.close()
	for _, v := range []variant{{level: Limited, integrity: true}, {level: Limited}} {
		checks, err := b.try(ctx, o, *h, v)
		h.Checks = append(h.Checks, checks...)
		why := failure(checks, err)
		if why == "" {
			h.Level = v.level
			break
		}
		h.Missing["integrity"] = why
	}
	return h, ctx.Err()
}

func executablePath() (string, error) { return os.Executable() }

// lowers reports whether processes get the low integrity level.
func (s *Spec) lowers() bool {
	return s.confined(Limited) && s.Host.Missing["integrity"] == "" && len(s.Write) == 0
}

// Posture tells what holds a process of the given level on this host.
func (h *Host) Posture(level Level) api.Posture {
	p := api.Posture{Level: level, Kernel: "windows " + h.Kernel, Missing: h.Missing, Memory: "job", Achieved: []string{api.AchievedMemory}, SelfTest: h.selfTest()}
	files := api.LayerEnforced + ": writing only, by the integrity level, where no paths are granted for writing; reading is not held"
	if why, missing := h.Missing["integrity"]; missing {
		files = api.LayerUnavailable + ": " + why
	}
	p.Layers = map[string]string{
		"files":        files,
		"network":      api.LayerUnavailable + ": nothing filters network access here",
		"privileges":   api.LayerEnforced + ": restricted token",
		"environment":  api.LayerEnforced,
		"descriptors":  api.LayerEnforced,
		"memory":       api.LayerEnforced + ": job object",
		"processes":    api.LayerEnforced + ": job object",
		"cpu":          api.LayerEnforced + ": job object",
		"storage":      api.LayerEnforced + ": watchdog on what is stored",
		"windows":      api.LayerEnforced + ": job object",
		"time":         api.LayerEnforced,
		"kill_tree":    api.LayerEnforced + ": job object",
		"parent_death": api.LayerEnforced + ": job object",
	}
	if !level.AtLeast(Limited) {
		p.Layers["files"], p.Layers["privileges"] = api.LayerOff, api.LayerOff
	}
	return p
}

// Keep does nothing: a Job Object ends with the agent that holds it.
func Keep(string) (int, error) { return 0, nil }
