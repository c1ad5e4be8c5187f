package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/diskspace"
	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
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
// first at which all comes out as it must. Without a host the error means that not even an
// unconfined process could be started, or that there is no room to try (diskspace.Full).
func Probe(ctx context.Context, o ProbeOptions) (*Host, error) {
	key := o.key()
	if h := cached(o.Cache, key); h != nil && o.holds(ctx, h) {
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

// holds tries once, at the level that was found, what an earlier self-test says: within
// one boot a host can come to give less, for example a container that is started again
// with another profile. Asking all levels takes longer where the highest do not hold.
func (o ProbeOptions) holds(ctx context.Context, h *Host) bool {
	if !h.Level.AtLeast(Limited) {
		return true
	}
	b, err := openBait(o.Dir)
	if err != nil {
		return false
	}
	defer b.close()
	_, weak := h.Missing["integrity"]
	checks, err := b.try(ctx, o, *h, variant{h.Level, h.Proc, h.Broker, runtime.GOOS == "windows" && !weak})
	return failure(checks, err) == ""
}

// variant is one way to reach a level.
type variant struct {
	level        Level
	proc, broker bool
	integrity    bool // of Windows
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

// selfTest names the checks, by their result.
func (h *Host) selfTest() *api.SelfTest {
	out := &api.SelfTest{}
	for _, c := range h.Checks {
		name := string(c.Level) + ": " + c.Name
		if c.Passed {
			out.Passed = append(out.Passed, name)
		} else {
			out.Failed = append(out.Failed, name)
		}
	}
	return out
}

// bait is what probes are let loose on.
type bait struct {
	dir       string
	order     probeOrder
	listeners []net.Listener
}

// maxBaitDir leaves room, in the 103 bytes that the path of a socket may have everywhere,
// for the longest name below it: /probe-1234567890/agent/s.
const maxBaitDir = 103 - 25

// baitRoom is far more than a self-test writes. With less of the disk a trial could fail for want
// of room, and a level be held to be out of reach that this host gives.
const baitRoom = 1 << 20

// openBait lays the bait below dir or, where that has no room, in memory: an agent that is started
// while its disk is full is tested all the same. What is tried is the same at either place.
func openBait(dir string) (*bait, error) {
	b, err := layBait(dir)
	if diskspace.Full(err) && spareDir != "" {
		if spare, failed := layBait(spareDir); failed == nil {
			return spare, nil
		}
	}
	return b, err
}

func layBait(dir string) (*bait, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err == nil && len(dir) > maxBaitDir {
		dir, err = filepath.EvalSymlinks(os.TempDir())
	}
	if err != nil {
		return nil, fmt.Errorf("prepare the sandbox's self-test: %w", err)
	}
	if free, total, err := diskspace.Of(dir); err == nil && total > 0 && free < baitRoom {
		return nil, fmt.Errorf("prepare the sandbox's self-test: %s has %d bytes left: %w", dir, free, syscall.ENOSPC)
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
	addresses := [][2]string{{"tcp", "127.0.0.1:0"}, {"unix", b.order.Socket}, {"unix", b.order.Stranger}}
	if runtime.GOOS == "linux" {
		addresses = append(addresses, [2]string{"unix", b.order.Abstract})
	}
	for _, a := range addresses {
		l, err := net.Listen(a[0], a[1])
		if err != nil {
			return err
		}
		b.listeners = append(b.listeners, l)
	}
	b.order.TCP = b.listeners[0].Addr().String()
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
	self, err := executablePath()
	if err != nil {
		return nil, err
	}
	order := b.order
	order.Level, order.Proc, order.Broker, order.ABI, order.Integrity = v.level, v.proc, v.broker, h.LandlockABI, v.integrity
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
		Path: self, Args: []string{probeName}, Env: probeEnv(string(text)), Dir: filepath.VolumeName(self) + string(filepath.Separator), Stdout: in, Stderr: in,
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

// helperEnv is of each process of this program that helps an agent. One thread will do;
// and with the race detector a program would sleep a second before it ends.
var helperEnv = []string{"GOMAXPROCS=1", "GORACE=atexit_sleep_ms=0"}

func probeEnv(order string) []string {
	out := append(slices.Clone(helperEnv), orderVariable+"="+order)
	for _, name := range platformInherited {
		out = append(out, name+"="+os.Getenv(name))
	}
	return out
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
