//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/stavily/agents/internal/limits"
)

// The verdicts.
const (
	open    = "open"    // the attack worked
	blocked = "blocked" // it was refused
	absent  = "na"      // there was nothing to attack
	broken  = "broken"  // the probe failed by itself, or said nothing
)

// outcome is what came of one probe.
type outcome struct {
	probe
	Verdict  string `json:"verdict"`
	Evidence string `json:"evidence"`
}

// strays are the names of processes that probes want to leave behind.
var strays = map[string]string{
	"daemon_past_time_limit": "atk-daemon-1",
	"daemon_past_exit":       "atk-daemon-2",
	"deaf_tree":              "atk-deaf",
	"closed_outputs":         "atk-closed",
	"stuck_on_fifo":          "atk-fifo",
	"stopped":                "atk-stopped",
	"forking_on":             "atk-hop",
	"vfork_for_ever":         "atk-vfork",
	"tracing_each_other":     "atk-traced",
	"outlive_agent":          "atk-outlive",
	"spin":                   "atk-spin",
}

// check says from outside whether an attack worked. claimed is what the probe says of
// itself.
type check func(w *host, claimed outcome) (worked bool, evidence string)

// checks are for probes whose effect can be seen from outside, or whose loot is known.
var checks = map[string]check{
	"read_agent_key":           loot(func(w *host) string { return head(w.bait.Key) }),
	"read_agent_config":        loot(func(w *host) string { return head(w.bait.Config) }),
	"read_other_plugin":        loot(func(w *host) string { return head(w.bait.NeighbourSecret) }),
	"read_other_state":         loot(func(w *host) string { return head(w.bait.NeighbourState) }),
	"read_other_plugin_config": loot(func(w *host) string { return head(w.bait.NeighbourConfig) }),
	"read_host_home":           loot(func(w *host) string { return head(w.bait.HomeKey) }),
	"read_etc_shadow":          loot(func(*host) string { return "root:" }),
	"list_temp":                loot(func(w *host) string { return head(w.bait.TmpFile) }),
	"list_other_plugins":       loot(func(*host) string { return "neighbour" }),
	"list_agent_base":          loot(func(*host) string { return "certificates" }),
	"proc1_root":               loot(func(w *host) string { return head(w.bait.Key) }),
	"proc_agent_root":          loot(func(w *host) string { return head(w.bait.Key) }),
	"proc_agent_cwd":           loot(func(w *host) string { return head(w.bait.Key) }),
	"proc_agent_cmdline":       loot(func(*host) string { return "action-agent" }),
	"proc_agent_maps":          loot(func(*host) string { return "action-agent" }),
	"proc_agent_mem":           loot(func(*host) string { return "\x7fELF" }),
	"proc_agent_fd":            loot(func(w *host) string { return w.bait.LeakedSecret }),
	"symlink_to_key":           loot(func(w *host) string { return head(w.bait.Key) }),
	"hardlink_key":             loot(func(w *host) string { return head(w.bait.Key) }),
	"dotdot_from_scratch":      loot(func(w *host) string { return head(w.bait.Key) }),
	"openat2_in_root":          loot(func(w *host) string { return head(w.bait.Key) }),
	"opath_then_openat":        loot(func(w *host) string { return head(w.bait.Key) }),
	"opath_reopen":             loot(func(w *host) string { return head(w.bait.Key) }),
	"chdir_then_read":          loot(func(w *host) string { return head(w.bait.Key) }),
	"chroot_out":               loot(func(w *host) string { return head(w.bait.Key) }),
	"fchdir_out":               loot(func(w *host) string { return head(w.bait.Key) }),
	"run_shell":                loot(func(w *host) string { return head(w.bait.Key) }),
	"run_agent_program":        loot(func(*host) string { return "STAVILY_AGENT_ID" }),
	"metadata":                 loot(func(*host) string { return metadataSecret }),
	"shared_memory":            loot(func(w *host) string { return w.shmSecret }),
	"message_queue":            loot(func(w *host) string { return w.messageSecret }),
	"posix_memory":             loot(func(w *host) string { return head(w.bait.PosixMemory) }),
	"read_agents_memory":       loot(func(*host) string { return "\x7fELF" }),
	"read_siblings_memory":     loot(func(w *host) string { return w.siblingSecret }),
	"trace_sibling":            loot(func(w *host) string { return w.siblingSecret[:8] }),
	"take_agents_descriptor":   loot(func(w *host) string { return w.bait.LeakedSecret }),
	"victims_memory":           loot(func(w *host) string { return w.bait.VictimSecret }),
	"victims_memory_file":      loot(func(w *host) string { return w.bait.VictimSecret }),
	"victims_files":            loot(func(w *host) string { return w.bait.VictimSecret }),
	"victims_files_by_root":    loot(func(w *host) string { return w.bait.VictimSecret }),
	"victims_socket":           loot(func(*host) string { return actionAgent }),
	"forge_event":              loot(func(*host) string { return "event_id" }),

	"write_plugin_dir": made(func(w *host) string { return filepath.Join(w.bait.PluginsDir, "attacker", "left-behind") }),
	"write_pycache": made(func(w *host) string {
		return filepath.Join(w.bait.PluginsDir, "attacker", "__pycache__", "left-behind.pyc")
	}),
	"write_plugin_grant":         made(func(w *host) string { return filepath.Join(w.bait.Base, "config", "plugins", "left-behind.yaml") }),
	"hardlink_into_other_plugin": made(func(w *host) string { return filepath.Join(w.bait.PluginsDir, "neighbour", "left-behind.py") }),
	"plant_usercustomize": made(func(w *host) string {
		return first(filepath.Join(w.home, ".local/lib/*/site-packages/usercustomize.py"))
	}),
	"create_in_agent_dir":   made(func(w *host) string { return first(filepath.Join(w.bait.Targets, "created*")) }),
	"persist_in_temp":       made(func(w *host) string { return w.bait.TmpLeft }),
	"persist_in_memory":     made(func(w *host) string { return w.bait.ShmLeft }),
	"replace_agent_program": changed(func(w *host) string { return w.bait.Program }),
	"rename_out_of_reach":   changed(target("rename_out_of_reach")),
	"rename_exchange":       changed(target("rename_exchange")),
	"truncate_agent_file":   changed(target("truncate_agent_file")),
	"unlink_agent_file":     changed(target("unlink_agent_file")),
	"map_others_file":       changed(target("map_others_file")),
	"result_through_link":   changed(target("result")),
	"sweep_follows_link":    changed(func(w *host) string { return filepath.Join(w.bait.Targets, "sweep", "file") }),
	"chmod_agent_file":      mode(target("chmod_agent_file")),
	"chmod_by_descriptor":   mode(target("chmod_by_descriptor")),
	"touch_agent_file":      touched(target("touch_agent_file")),

	"signal_everybody":      signalled(28),
	"signal_sibling":        signalled(10),
	"signal_sibling_thread": signalled(12),
	"signal_queued":         signalled(38),
	"signal_by_pidfd":       signalled(35),
	"signal_by_owner":       signalled(36),
	"signal_by_owner_ex":    signalled(37),

	"semaphore":             func(w *host, _ outcome) (bool, string) { return w.semaphoreValue() == 7, "its value" },
	"shared_memory_write":   func(w *host, _ outcome) (bool, string) { return string(w.shm[64:69]) == "owned", "its content" },
	"write_siblings_memory": siblingOwned,

	"memory_in_one_process":    memoryTaken,
	"memory_in_many_processes": memoryTaken,
	"flood_log":                flooded,
	"flood_answer":             flooded,
	"flood_agents_socket":      flooded,
	"unremovable_scratch":      leftDirectory,
}

func init() {
	for _, name := range []string{
		"tcp_to_host", "tcp6_to_host", "mapped_to_host", "tcp_fast_open", "tcp_fast_open_message", "tcp_fast_open_option", "multipath_tcp",
		"udp_to_host", "udp_connected", "dns", "listen_for_host", "listen_low", "listen_without_bind", "squat_abstract_name", "unix_service", "docker_socket",
		"late_socket", "docker_socket_by_link", "docker_socket_by_descriptor", "docker_socket_relative", "docker_socket_bound", "unix_datagram",
		"unix_datagram_message", "unix_datagram_pair", "unix_reconnected_pair", "abstract_service", "race_for_socket",
	} {
		checks[name] = called(name)
	}
	for name := range strays {
		checks[name] = strayed
	}
}

// head is the beginning of a file, enough to know it by.
func head(path string) string {
	text, err := limits.ReadFile(path, 16<<20)
	if err != nil || len(text) == 0 {
		return "\x00nothing was there"
	}
	return string(text[:min(len(text), 60)])
}

// loot is taken when what the probe brings holds what was there to take.
func loot(of func(*host) string) check {
	return func(w *host, claimed outcome) (bool, string) {
		wanted := of(w)
		if claimed.Verdict == open && !strings.Contains(claimed.Evidence, latin1(wanted)) {
			return false, fmt.Sprintf("it found something else: %.60q", claimed.Evidence)
		}
		return claimed.Verdict == open, claimed.Evidence
	}
}

// latin1 reads bytes as the probes do.
func latin1(s string) string {
	runes := make([]rune, len(s))
	for i, b := range []byte(s) {
		runes[i] = rune(b)
	}
	return string(runes)
}

func target(name string) func(*host) string {
	return func(w *host) string { return filepath.Join(w.bait.Targets, name) }
}

// made: the file is there on the host.
func made(path func(*host) string) check {
	return func(w *host, _ outcome) (bool, string) {
		file := path(w)
		_, err := os.Lstat(file)
		return file != "" && err == nil, "it is there: " + filepath.Base(file)
	}
}

// changed: the file that was there is gone or holds something else.
func changed(path func(*host) string) check {
	return func(w *host, _ outcome) (bool, string) {
		text, err := limits.ReadFile(path(w), 1<<10)
		if err != nil {
			return true, "it is gone"
		}
		whole := bytes.HasPrefix(text, []byte("secret-of-")) || string(text) == "kept\n"
		return !whole, fmt.Sprintf("it holds %.40q", text)
	}
}

func mode(path func(*host) string) check {
	return func(w *host, _ outcome) (bool, string) {
		info, err := os.Stat(path(w))
		if err != nil {
			return true, err.Error()
		}
		return info.Mode().Perm() != 0o600, "its mode is " + info.Mode().String()
	}
}

func touched(path func(*host) string) check {
	return func(w *host, _ outcome) (bool, string) {
		info, err := os.Stat(path(w))
		if err != nil {
			return true, err.Error()
		}
		return info.ModTime().Unix() == 1, "its time is " + info.ModTime().UTC().String()
	}
}

// called: a listener heard the probe.
func called(name string) check {
	return func(w *host, _ outcome) (bool, string) {
		return w.seen.count("call "+name) > 0, "it was heard outside"
	}
}

func signalled(n int) check {
	return func(w *host, _ outcome) (bool, string) {
		return w.seen.count(fmt.Sprintf("signal %d", n)) > 0, fmt.Sprintf("the sibling got signal %d", n)
	}
}

func siblingOwned(w *host, _ outcome) (bool, string) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/mem", w.bait.SiblingPID))
	if err != nil {
		return false, err.Error()
	}
	defer f.Close()
	room := make([]byte, 5)
	_, err = f.ReadAt(room, w.bait.SiblingAddr+64)
	return err == nil && string(room) == "owned", "its memory"
}

// memoryTaken: twice the limit was held for a moment. A watchdog that looks 20 times a
// second lets some more than the limit through; the kernel nothing.
func memoryTaken(w *host, claimed outcome) (bool, string) {
	peak := w.memory[claimed.Name]
	return peak > 2*memoryLimit, fmt.Sprintf("%d MB at a limit of %d MB", peak/1_000_000, memoryLimit/1_000_000)
}

// tooMuch is what the agent may grow by, whatever a plugin says to it: some lines of
// the largest size (1 MiB), times the garbage collector's share.
const tooMuch = 64 << 20

// flooded: the agent kept it all.
func flooded(w *host, claimed outcome) (bool, string) {
	var logs int64
	filepath.WalkDir(filepath.Join(w.bait.Base, "logs"), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				logs += info.Size()
			}
		}
		return nil
	})
	grown := w.grown[claimed.Name]
	return grown > tooMuch || logs > tooMuch, fmt.Sprintf("the agent grew by %d MiB, its logs have %d MiB", grown>>20, logs>>20)
}

func leftDirectory(w *host, _ outcome) (bool, string) {
	found := first(filepath.Join(w.bait.Base, "tmp", "*", "locked"))
	return found != "", "it is left: " + found
}

// strayed: a process of the probe lived on. One that was never seen to live proves
// nothing, which judge tells.
func strayed(w *host, claimed outcome) (bool, string) {
	n := w.strayed[claimed.Name]
	return n > 0, fmt.Sprintf("%d processes lived on", n)
}

// judge makes the outcomes of what the probes say and of what was seen.
func (w *host) judge() error {
	for _, kind := range []string{"victim", "quick", "short", "alone", "last"} {
		for _, p := range w.of(kind) {
			if p.Kind != "victim" {
				w.report.Outcomes = append(w.report.Outcomes, w.outcomeOf(p))
			}
		}
	}
	return nil
}

func (w *host) outcomeOf(p probe) outcome {
	o := w.claimed(p)
	if o.Verdict == absent || o.Verdict == broken {
		return o
	}
	if name := strays[p.Name]; name != "" && w.seen.most(name) == 0 {
		o.Verdict, o.Evidence = broken, "no process of it was ever seen"
		return o
	}
	if see, ok := checks[p.Name]; ok {
		worked, evidence := see(w, o)
		switch {
		case worked:
			o.Verdict, o.Evidence = open, evidence
		case o.Verdict == open:
			o.Verdict, o.Evidence = blocked, "it says it worked ("+o.Evidence+"), and outside nothing came of it: "+evidence
		}
	}
	return o
}

// claimed is what the probe says of itself. A run that was ended says nothing: where
// the ending is the refusal, that is one.
func (w *host) claimed(p probe) outcome {
	o := outcome{probe: p, Verdict: broken, Evidence: "there is no answer"}
	if p.Kind == "last" { // its agent is gone, and nobody answers for it
		o.Verdict, o.Evidence = blocked, "the agent was killed"
		return o
	}
	r := w.ended[p.Name]
	if len(r.Steps) == 0 || r.Steps[0].Result == nil {
		o.Evidence = fmt.Sprintf("there is no result: the run is %s", r.Status)
		return o
	}
	result := r.Steps[0].Result
	if w.report.Posture == nil {
		w.report.Posture = result.Sandbox
	}
	var said struct{ Verdict, Evidence string }
	if json.Unmarshal(result.Result, &said) == nil && said.Verdict != "" {
		o.Verdict, o.Evidence = said.Verdict, said.Evidence
		return o
	}
	ended := result.ErrorMessage + " " + string(result.ErrorDetails)
	o.Evidence = fmt.Sprintf("%s: %s", result.Status, ended)
	limited := strings.Contains(ended, "_limit") || strings.Contains(ended, "bad system call")
	if limited || p.Control != works { // a flood, a bomb or a nonsense answer that ended its own run
		o.Verdict = blocked
	}
	return o
}
