package warm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/internal/supervise"
)

// raise starts a zygote and returns when executions can be forked from it. A *refusal
// says that this never will be.
func raise(ctx context.Context, plan *Plan, o *Options) (*zygote, error) {
	z := &zygote{
		memory: plan.Spec.Limits.Memory, most: o.Executions, base: map[string]string{}, born: time.Now(), since: time.Now(),
		retired: make(chan struct{}), lost: make(chan struct{}), empty: make(chan struct{}), live: map[int]*execution{},
	}
	if err := z.makeDirs(o, plan.Spec.User); err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx)) // the end of ctx is a reason to retire, not to die
	stop := context.AfterFunc(ctx, end)
	err := z.open(life, plan)
	if err == nil {
		err = z.ready(plan)
	}
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		end()
		z.discard()
		return nil, err
	}
	z.heard.Go(func() {
		defer end()
		z.listen()
	})
	return z, nil
}

// discard takes back what raise did.
func (z *zygote) discard() {
	if z.session != nil {
		z.session.Close(0)
		z.control.conn.Close()
	}
	if z.orders != nil {
		z.orders.socket.Close()
	}
	z.group.close()
	removeDir(z.dir)
}

// makeDirs makes the directories of a zygote for whom its plugin is to be.
func (z *zygote) makeDirs(o *Options, user *sandbox.Credential) (err error) {
	if z.dir, err = os.MkdirTemp(o.Dir, o.Prefix); err == nil {
		z.dir, err = filepath.EvalSymlinks(z.dir) // the sandbox follows no link
	}
	if err != nil {
		return fmt.Errorf("make a directory for a zygote: %w", err)
	}
	z.temp, z.given = filepath.Join(z.dir, "t"), filepath.Join(z.dir, "g") // short: paths of sockets are below
	for _, dir := range []string{z.temp, z.given} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return fmt.Errorf("make a directory for a zygote: %w", err)
		}
	}
	for _, dir := range []string{z.dir, z.temp, z.given} {
		if user == nil {
			break
		}
		if err := os.Chown(dir, int(user.UID), int(user.GID)); err != nil {
			return fmt.Errorf("give a zygote its directory: %w", err)
		}
	}
	return nil
}

// open starts the process and shakes hands with it.
func (z *zygote) open(ctx context.Context, plan *Plan) error {
	environment, spec := plan.Environment, plan.Spec
	environment.Temp = z.temp
	env, err := environment.List()
	if err != nil {
		return err
	}
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		z.base[name] = value
	}
	control, theirs, err := openControl()
	if err != nil {
		return err
	}
	defer theirs.Close()
	spec.Env = append(env, environmentFD+"="+controlFD)
	spec.Files = []*os.File{theirs}
	spec.Temp, spec.Given, spec.Socket, spec.Input = z.temp, z.given, "", ""
	spec.Read = append(slices.Clip(spec.Read), z.given)
	spec.Limits = withinLimits(spec.Limits)
	if err := z.network(ctx, plan, &spec); err != nil {
		control.conn.Close()
		return err
	}
	if err := z.joinGroup(plan, &spec); err != nil {
		control.conn.Close()
		return err
	}
	session, err := supervise.Open(ctx, supervise.Options{Spec: spec, Config: plan.Config, Log: plan.Log})
	if err != nil {
		control.conn.Close()
		return fmt.Errorf("the plugin's zygote %w", err)
	}
	z.session, z.control = session, control
	return nil
}

// readyLimit is how long after the handshake a zygote may take to say that it is one;
// it says so before.
const readyLimit = 2 * time.Second

// ready hears what the zygote says of itself, looks at it, and tells it where
// executions live.
func (z *zygote) ready(plan *Plan) error {
	z.control.conn.SetReadDeadline(time.Now().Add(readyLimit))
	s, err := z.control.hear()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &refusal{"its SDK does not know how"}
	case err != nil:
		return err
	case s.Ready == nil:
		return errors.New("it said something else before it was ready")
	case s.Ready.Refused != "":
		return &refusal{s.Ready.Refused}
	}
	z.control.conn.SetReadDeadline(time.Time{})
	if err := fresh(z.session.Pid()); err != nil {
		return err
	}
	p := place{Temp: z.temp}
	if p.Layer, err = z.layer(plan, s.Ready.Landlock); err != nil {
		return err
	}
	ours, theirs, err := openPair()
	if err != nil {
		return err
	}
	defer theirs.Close()
	z.orders = &orders{ours}
	if err = z.control.tell(order{Place: &p}, theirs); errors.Is(err, errTooLong) {
		return &refusal{"it is granted too many places to keep its runs to them"}
	}
	return err
}

// layer is what Landlock leaves to each execution: what the sandbox grants, without
// what belongs to the others. Where the sandbox draws no file boundary there is none
// to keep between them.
func (z *zygote) layer(plan *Plan, abi int) (*layer, error) {
	s := plan.Spec
	if s.Host == nil || !s.Level.AtLeast(sandbox.Confined) {
		return nil, nil
	}
	if abi == 0 {
		return nil, &refusal{"the kernel has no Landlock to keep its runs apart"}
	}
	for _, path := range slices.Concat(s.Read, s.Write) {
		if isBelow(z.dir, path) {
			return nil, &refusal{fmt.Sprintf("it is granted %s, where the directories of its other runs are", path)}
		}
	}
	l := &layer{
		Read:    slices.Concat(topLevel(z.dir), s.Code, s.Read),
		Devices: []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"},
		Write:   append(slices.Clone(s.Write), s.Home),
		Hidden:  []string{z.dir, "/tmp"}, // level full shows the scratch directory as /tmp, too
	}
	for _, m := range s.Mounts {
		l.Read = append(l.Read, m.Target)
	}
	l.Read = slices.DeleteFunc(l.Read, func(path string) bool {
		return slices.ContainsFunc(l.Hidden, func(hidden string) bool { return isBelow(hidden, path) })
	})
	if len(l.Read)+len(l.Write) > maxPlaces {
		return nil, &refusal{"it is granted too many places to keep its runs to them"}
	}
	return l, nil
}

// maxPlaces is how many descriptors a zygote has for places that its executions are
// granted: half of what it may have at all.
const maxPlaces = 500

// topLevel lists what the root directory holds, of which the sandbox shows a part,
// without what leads to dir.
func topLevel(dir string) []string {
	entries, err := os.ReadDir("/")
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if path := "/" + e.Name(); !isBelow(dir, path) {
			out = append(out, path)
		}
	}
	return out
}

// isBelow reports whether path is parent or below it.
func isBelow(path, parent string) bool {
	return strings.HasPrefix(path+"/", strings.TrimSuffix(parent, "/")+"/")
}

// maxMaps bounds a list of mappings: a process with a thousand libraries has 1 MiB.
const maxMaps = 4 << 20

// fresh looks whether what is forked from a process would be fresh: it shares no
// thread, no process and no memory with what came before.
func fresh(pid int) error {
	if err := single(pid); err != nil {
		return &refusal{err.Error()}
	}
	if len(sandbox.Family(pid)) > 1 {
		return &refusal{"it starts processes while it is imported"}
	}
	maps, err := limits.ReadFile(fmt.Sprintf("/proc/%d/maps", pid), maxMaps)
	if err != nil {
		return &refusal{fmt.Sprintf("what memory its runs would share cannot be seen: %v", err)}
	}
	for line := range strings.Lines(string(maps)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], "rw") && strings.HasSuffix(f[1], "s") {
			return &refusal{"it maps writable shared memory while it is imported"}
		}
	}
	return nil
}

// single reports an error where a process has a second thread.
func single(pid int) error {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it is gone, which is told otherwise
	}
	if err == nil && len(tasks) > 1 {
		return errors.New("it starts threads while it is imported, and a fork leaves them behind")
	}
	return err
}

// sane looks at a zygote that waits. It has one thread and no more memory than an
// execution may have.
func sane(pid int, memory int64) error {
	if err := single(pid); err != nil {
		return errors.New("it has started a thread")
	}
	if rss := sandbox.Resident(pid); memory > 0 && rss > memory {
		return fmt.Errorf("it takes %d MiB", rss>>20)
	}
	return nil
}

// worked is the processor time of a process and what it forked ahead.
func worked(pid int) time.Duration {
	var sum time.Duration
	for _, p := range sandbox.Family(pid) {
		sum += sandbox.CPUTime(p)
	}
	return sum
}
