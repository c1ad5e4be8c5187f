//go:build linux

package main

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/internal/limits"
)

// bait is what a probe is told: where everything is that it may want. The names are
// the parameters of the probes.
type bait struct {
	Mark    string `json:"mark"`    // what a probe says to a listener, to be known
	Sandbox string `json:"sandbox"` // the level, for what a probe cannot tell otherwise

	Base            string `json:"base"` // of the action agent
	Key             string `json:"key"`
	Config          string `json:"config"`
	Journal         string `json:"journal"`
	Log             string `json:"log"`
	PluginsDir      string `json:"plugins_dir"`
	Targets         string `json:"targets"` // files of the agent, one for each probe that changes one
	NeighbourSecret string `json:"neighbour_secret"`
	NeighbourState  string `json:"neighbour_state"`
	NeighbourConfig string `json:"neighbour_config"`
	ServerDB        string `json:"server_db"`
	OperatorSocket  string `json:"operator_socket"`
	Program         string `json:"program"` // a file beside the agent's program
	AgentProgram    string `json:"agent_program"`
	Home            string `json:"home"`
	HomeKey         string `json:"home_key"`
	HomeProfile     string `json:"home_profile"`
	TmpFile         string `json:"tmp_file"`
	TmpLeft         string `json:"tmp_left"`
	ShmLeft         string `json:"shm_left"`

	Token        string `json:"token"`     // in the agent's environment
	LeakedFD     int    `json:"leaked_fd"` // open in the agent, and not closed on exec
	LeakedSecret string `json:"leaked_secret"`
	AgentPID     int    `json:"agent_pid"`
	AgentText    int64  `json:"agent_text"` // where its program begins in memory
	KeeperPIDs   []int  `json:"keeper_pids"`
	SiblingPID   int    `json:"sibling_pid"`
	SiblingAddr  int64  `json:"sibling_address"`
	VictimPID    int    `json:"victim_pid"`
	VictimSecret string `json:"victim_secret"`

	TCPPort        int    `json:"tcp_port"`
	TCP6Port       int    `json:"tcp6_port"` // 0: no IPv6
	UDPPort        int    `json:"udp_port"`
	ListenPort     int    `json:"listen_port"` // where somebody comes to who listens there
	LowPort        int    `json:"low_port"`
	LowNeedsRoot   bool   `json:"low_needs_root"`
	MetadataHost   string `json:"metadata_host"`
	MetadataPort   int    `json:"metadata_port"`
	DNSHost        string `json:"dns_host"`
	DNSPort        int    `json:"dns_port"`
	Health         string `json:"health"`
	Server         string `json:"server"`
	ServiceSocket  string `json:"service_socket"`
	DockerSocket   string `json:"docker_socket"`
	DatagramSocket string `json:"datagram_socket"`
	LateSocket     string `json:"late_socket"`
	AbstractName   string `json:"abstract_name"`
	SquatName      string `json:"squat_name"`

	OtherSockets  []string `json:"other_sockets"`  // agent sockets of other runs
	SensorSockets []string `json:"sensor_sockets"` // and of the sensor

	ShmKey      int    `json:"shm_key"`
	SemKey      int    `json:"sem_key"`
	MsgKey      int    `json:"msg_key"`
	LeftKey     int    `json:"left_key"` // taken by nobody
	MqName      string `json:"mq_name"`
	PosixMemory string `json:"posix_memory"`

	MemoryLimit  int64 `json:"memory_limit"`
	ProcessLimit int   `json:"process_limit"`
	TempBytes    int64 `json:"temp_bytes"`
	TempFiles    int   `json:"temp_files"`
}

// What the attacker's owner grants it; the probes try to take more.
const (
	memoryLimit  = 128_000_000
	processLimit = 64
	tempBytes    = 32_000_000
	tempFiles    = 16_000 // more than a private directory of tempBytes may hold
)

func secret(of string) string {
	random := make([]byte, 8)
	rand.Read(random) // never fails
	return "secret-of-" + of + "-" + hex.EncodeToString(random)
}

// targets are the files of the agent that probes change, by the probe's name.
var targets = []string{
	"rename_out_of_reach", "rename_exchange", "chmod_agent_file", "chmod_by_descriptor", "chown_agent_file", "truncate_agent_file",
	"unlink_agent_file", "touch_agent_file", "xattr_agent_file", "flags_of_agent_file", "lock_agent_file", "map_others_file", "result",
}

// layFiles puts secrets where an attacker looks for them.
func (w *host) layFiles() error {
	b := &w.bait
	base := w.action.Base
	b.Base, b.PluginsDir = base, filepath.Join(base, "data", "plugins")
	b.Key, b.Config = first(filepath.Join(base, "certificates", "*.key")), filepath.Join(base, "config", "agent.yaml")
	b.NeighbourSecret = filepath.Join(b.PluginsDir, "neighbour", "token")
	b.NeighbourState = filepath.Join(base, "data", "state", "plugins", "neighbour", "state")
	b.NeighbourConfig = filepath.Join(base, "config", "plugins", "neighbour.yaml")
	b.Targets = filepath.Join(base, "data", "targets")
	b.Home = w.home
	b.HomeKey, b.HomeProfile = filepath.Join(w.home, ".ssh", "id_ed25519"), filepath.Join(w.home, ".profile")
	b.AgentProgram, b.Program = filepath.Join(w.bin, "action-agent"), filepath.Join(w.bin, "updater")
	b.TmpFile, b.TmpLeft = filepath.Join(os.TempDir(), b.Mark), filepath.Join(os.TempDir(), b.Mark+"-left")
	b.PosixMemory, b.ShmLeft = "/dev/shm/"+b.Mark, "/dev/shm/"+b.Mark+"-left"
	w.temporary = append(w.temporary, b.TmpFile, b.TmpLeft, b.PosixMemory, b.ShmLeft)
	var errs []error
	for _, path := range []string{b.NeighbourSecret, b.NeighbourState, b.HomeKey, b.HomeProfile, b.Program, b.TmpFile, b.PosixMemory} {
		errs = append(errs, write(path, secret(filepath.Base(path))+"\n"))
	}
	for _, name := range targets {
		errs = append(errs, write(filepath.Join(b.Targets, name), secret(name)+"\n"))
	}
	errs = append(errs, write(filepath.Join(b.Targets, "sweep", "file"), "kept\n"),
		write(b.NeighbourConfig, "plugin: neighbour\nenabled: true # "+secret("neighbour")+"\n"))
	return errors.Join(errs...)
}

func write(path, text string) error {
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600))
}

func first(pattern string) string {
	found, _ := filepath.Glob(pattern) // the patterns are constants
	if len(found) == 0 {
		return ""
	}
	return found[0]
}

// sibling is another process of the agent's user: it has a secret in its memory and
// writes down which signals reach it. It never returns.
func sibling(args []string) error {
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	copy(page, args[0])
	return watchSignals(page)
}

// startSibling starts it and learns the address of its secret.
func (w *host) startSibling() error {
	b := &w.bait
	w.siblingSecret = secret("sibling")
	cmd := exec.Command("/proc/self/exe", "sibling", w.siblingSecret)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the sibling: %w", err)
	}
	lines := limits.NewLineReader(out, 1<<10)
	line, _, err := lines.Next()
	if err != nil {
		return fmt.Errorf("hear from the sibling: %w", err)
	}
	b.SiblingAddr, err = strconv.ParseInt(strings.TrimSpace(string(line)), 10, 64)
	b.SiblingPID = cmd.Process.Pid
	go func() {
		for {
			line, _, err := lines.Next()
			if err != nil {
				return
			}
			w.seen.heard("signal " + strings.TrimSpace(string(line)))
		}
	}()
	return err
}

// shareMemory makes what processes of one user share without a file.
func (w *host) shareMemory() error {
	b := &w.bait
	b.ShmKey, b.SemKey, b.MsgKey, b.LeftKey = 0x57a1, 0x57a2, 0x57a3, 0x57a4
	w.shmSecret = secret("shared memory")
	id, err := unix.SysvShmGet(b.ShmKey, 4096, unix.IPC_CREAT|unix.IPC_EXCL|0o600)
	if err != nil {
		return fmt.Errorf("make shared memory: %w", err)
	}
	if w.shm, err = unix.SysvShmAttach(id, 0, 0); err != nil {
		return fmt.Errorf("attach shared memory: %w", err)
	}
	copy(w.shm, w.shmSecret)
	sem, _, errno := unix.Syscall(unix.SYS_SEMGET, uintptr(b.SemKey), 1, unix.IPC_CREAT|0o600)
	if errno != 0 {
		return fmt.Errorf("make a semaphore: %w", errno)
	}
	w.sem = sem
	return errors.Join(w.leaveMessage(), w.makeQueue())
}

func mustJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil { // only plain structs come here
		panic(err)
	}
	return text
}
