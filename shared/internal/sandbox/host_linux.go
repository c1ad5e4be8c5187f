package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/internal/broker"
)

// ProbeOptions bound a self-test.
type ProbeOptions struct {
	Highest     Level       // try nothing above it; empty is Full
	LandlockABI int         // use no newer one; 0 is the kernel's
	User        *Credential // whom plugins are to be
	Dir         string      // where the test has its files, below the base directory
	Cache       string      // file of an earlier result; empty asks afresh
}

// probeLimit is a hundred times what a probe takes.
const probeLimit = 10 * time.Second

// Probe finds the highest level that this host really gives: at each, from the top, it
// starts a probe that tries what must work and what must be refused, and takes the
// first at which all comes out as it must. An error means that not even an unconfined
// process could be started.
func Probe(ctx context.Context, o ProbeOptions) (*Host, error) {
	key := o.key()
	if h := cached(o.Cache, key); h != nil {
		return h, nil
	}
	h, err := o.probe(ctx)
	if err != nil || o.Cache == "" {
		return h, err
	}
	text, err := json.Marshal(cacheEntry{key, h})
	if err == nil {
		err = atomicfile.Write(o.Cache, append(text, '\n'), 0o600)
	}
	if err != nil {
		return h, fmt.Errorf("keep the result of the self-test: %w", err)
	}
	return h, nil
}

type cacheEntry struct {
	Key  string `json:"key"`
	Host *Host  `json:"host"`
}

const maxCache = 64 << 10

func cached(path, key string) *Host {
	if path == "" {
		return nil
	}
	b, err := limits.ReadFile(path, maxCache)
	var e cacheEntry
	if err != nil || json.Unmarshal(b, &e) != nil || e.Key != key {
		return nil
	}
	return e.Host
}

// key names everything that a result depends on: the kernel and what it was told, this
// program, and its rights.
func (o ProbeOptions) key() string {
	h := fnv.New128a()
	var name unix.Utsname
	_ = unix.Uname(&name)
	var st unix.Stat_t
	_ = unix.Stat("/proc/self/exe", &st)
	fmt.Fprint(h, name.Release, name.Version, st.Dev, st.Ino, st.Size, st.Mtim, os.Geteuid(), o.Highest, o.LandlockABI, o.User, o.Dir)
	for _, path := range []string{
		"/proc/sys/user/max_user_namespaces", "/proc/sys/kernel/unprivileged_userns_clone", "/proc/sys/kernel/random/boot_id",
		"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "/proc/self/attr/current",
	} {
		b, _ := limits.ReadFile(path, 4<<10) // what is not there is the same as ever
		h.Write(b)
	}
	for _, file := range []struct {
		path string
		keep func(string) bool
	}{
		{"/proc/self/status", func(line string) bool {
			return strings.HasPrefix(line, "Cap") || strings.HasPrefix(line, "NoNewPrivs") || strings.HasPrefix(line, "Seccomp") || strings.HasPrefix(line, "Groups")
		}},
		{"/proc/self/mountinfo", func(line string) bool { return strings.Contains(line, " /proc") }},
	} {
		b, _ := limits.ReadFile(file.path, maxProcFile)
		for line := range strings.Lines(string(b)) {
			if file.keep(line) {
				io.WriteString(h, line)
			}
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// variant is one way to reach a level.
type variant struct {
	level        Level
	proc, broker bool
}

// variants are tried in this order.
var variants = []variant{{Full, true, false}, {Full, false, false}, {Confined, false, true}, {Confined, false, false}, {Limited, false, false}}

func (o ProbeOptions) probe(ctx context.Context) (*Host, error) {
	h := &Host{Level: None, Missing: map[string]string{}}
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		h.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	abi, err := landlockABI()
	if err != nil {
		h.Missing["landlock"] = "the kernel has none: " + err.Error()
	}
	if o.LandlockABI > 0 {
		abi = min(abi, o.LandlockABI)
	}
	h.LandlockABI = abi
	b, err := openBait(o.Dir)
	if err != nil {
		return nil, err
	}
	defer b.close()
	for _, v := range variants {
		if o.Highest != "" && !o.Highest.AtLeast(v.level) || v.level.AtLeast(Confined) && abi == 0 || v.broker && h.noBroker() {
			continue
		}
		checks, err := b.try(ctx, o, *h, v)
		h.Checks = append(h.Checks, checks...)
		if why := failure(checks, err); why != "" {
			h.miss(v, why)
			continue
		}
		h.Level, h.Proc, h.Broker = v.level, v.proc, v.broker
		return h, ctx.Err()
	}
	return h, ctx.Err()
}

// noBroker reports whether this kernel has no way to answer for it, and keeps why.
func (h *Host) noBroker() bool {
	err := broker.Supported()
	if err != nil {
		h.Missing["unix_sockets"] = err.Error()
	}
	return err != nil
}

// failure says why a variant does not hold, in a clause; empty when it does.
func failure(checks []Check, err error) string {
	if err != nil {
		return err.Error()
	}
	for _, c := range checks {
		if !c.Passed {
			return fmt.Sprintf("the self-test %q: %s", c.Name, c.Detail)
		}
	}
	return ""
}

// miss keeps the reason of the most that could have been.
func (h *Host) miss(v variant, why string) {
	layer := map[Level]string{Full: "namespaces", Confined: "landlock", Limited: "seccomp"}[v.level]
	switch {
	case v.proc:
		layer = "proc"
	case v.broker:
		layer = "unix_sockets"
	}
	if _, told := h.Missing[layer]; !told {
		h.Missing[layer] = why
	}
	if v.level == Full && !v.proc { // what keeps out namespaces keeps out their /proc
		delete(h.Missing, "proc")
	}
}

// bait is what probes are let loose on.
type bait struct {
	dir       string
	order     probeOrder
	listeners []net.Listener
}

// maxBaitDir leaves room, in the 107 bytes that the path of a socket may have, for the
// longest name below it: /probe-1234567890/agent/s.
const maxBaitDir = 107 - 25

func openBait(dir string) (*bait, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err == nil && len(dir) > maxBaitDir {
		dir, err = filepath.EvalSymlinks(os.TempDir())
	}
	if err != nil {
		return nil, fmt.Errorf("prepare the sandbox's self-test: %w", err)
	}
	if dir, err = os.MkdirTemp(dir, "probe-"); err != nil {
		return nil, fmt.Errorf("prepare the sandbox's self-test: %w", err)
	}
	b := &bait{dir: dir, order: probeOrder{
		Agent: os.Getpid(), Temp: filepath.Join(dir, "t"), Socket: filepath.Join(dir, "t", "s"),
		Secret: filepath.Join(dir, "agent", "secret"), Stranger: filepath.Join(dir, "agent", "s"), Abstract: fmt.Sprintf("@stavily-probe-%d-%d", os.Getpid(), time.Now().UnixNano()),
	}}
	if err := b.fill(); err != nil {
		b.close()
		return nil, fmt.Errorf("prepare the sandbox's self-test: %w", err)
	}
	return b, nil
}

func (b *bait) fill() error {
	for _, dir := range []string{b.order.Temp, filepath.Dir(b.order.Secret)} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	if err := os.WriteFile(b.order.Secret, []byte("secret"), 0o600); err != nil {
		return err
	}
	for _, a := range [][2]string{{"unix", b.order.Socket}, {"unix", b.order.Stranger}, {"unix", b.order.Abstract}, {"tcp", "127.0.0.1:0"}} {
		l, err := net.Listen(a[0], a[1])
		if err != nil {
			return err
		}
		b.listeners = append(b.listeners, l)
	}
	b.order.TCP = b.listeners[3].Addr().String()
	return nil
}

func (b *bait) close() {
	for _, l := range b.listeners {
		l.Close()
	}
	os.RemoveAll(b.dir)
}

// own gives what the probe must use to the user that it will be.
func (b *bait) own(id *Credential) error {
	if id == nil {
		return nil
	}
	err := errors.Join(os.Chmod(b.dir, 0o711), os.Chown(b.order.Temp, int(id.UID), int(id.GID)))
	return errors.Join(err, os.Chown(b.order.Socket, int(id.UID), int(id.GID)))
}

// try runs one probe. The error says why it could not be.
func (b *bait) try(ctx context.Context, o ProbeOptions, h Host, v variant) ([]Check, error) {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	if err := b.own(o.User); err != nil {
		return nil, err
	}
	h.Level, h.Proc, h.Broker = v.level, v.proc, v.broker
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	order := b.order
	order.Level, order.Proc, order.Broker, order.ABI = v.level, v.proc, v.broker, h.LandlockABI
	text, err := json.Marshal(order)
	if err != nil {
		return nil, err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p, err := Start(ctx, Spec{
		Path: self, Args: []string{probeName}, Env: []string{orderVariable + "=" + string(text), "GOMAXPROCS=1"}, Dir: "/", Stdout: in, Stderr: in,
		Host: &h, Level: v.level, Code: []string{self}, Temp: order.Temp, Socket: order.Socket, User: o.User, Grace: time.Second,
	})
	in.Close()
	if err != nil {
		return nil, err
	}
	said, err := limits.ReadAll(out, maxCache)
	exit, failed := p.Wait()
	if err := errors.Join(err, failed); err != nil {
		return nil, err
	}
	return parseChecks(said, exit)
}

func parseChecks(said []byte, exit Exit) ([]Check, error) {
	if !exit.Success() {
		return nil, fmt.Errorf("the probe %s: %s", exit, strconv.Quote(string(bytes.TrimSpace(said))))
	}
	var out []Check
	for line := range bytes.Lines(said) {
		var c Check
		if err := json.Unmarshal(line, &c); err != nil {
			return nil, fmt.Errorf("the probe said %q", line)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("the probe said nothing")
	}
	return out, nil
}
