package sandbox

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/shared/internal/broker"
	"github.com/stavily/agents/shared/internal/seccomp"
)

// launchLimit ends a launch that hangs, for example on a file server that is away. The
// thread that forks stands still until then.
const launchLimit = 10 * time.Second

// oomScore makes the kernel end a plugin before the agent when memory runs out.
const oomScore = "500"

// firstHigh is where a launch keeps descriptors that are not the plugin's: above all
// that a plugin is given.
const firstHigh = 64

// launch compiles the program of a Spec, runs it in a new process and returns once the
// plugin executes.
func launch(ctx context.Context, s *Spec) (*tree, error) {
	if err := executable(s); err != nil {
		return nil, err
	}
	c, err := openChannel(s)
	if err != nil {
		return nil, err
	}
	defer c.close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	p, err := compile(s, c, null)
	if err != nil {
		return nil, err
	}
	t := &tree{namespaced: s.confined(Full)}
	if !t.namespaced {
		if err := keep(); err != nil {
			return nil, err
		}
	}
	if t.pid, err = onForkThread(p.fork); err != nil {
		return nil, fmt.Errorf("make a process: %w", err)
	}
	runtime.KeepAlive(s)
	if err = p.err(); err == nil {
		err = c.receive(ctx, s, t)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		t.abandon()
		return nil, err
	}
	return t, nil
}

// executable looks at the program before anything is started. Where it hangs it is not
// the thread that forks.
func executable(s *Spec) error {
	info, err := os.Stat(s.Path)
	switch {
	case err != nil:
		return err
	case info.IsDir() || info.Mode()&0o111 == 0:
		return fmt.Errorf("%s: is not an executable file: chmod +x it", s.Path)
	}
	for _, path := range s.places() {
		if _, err := os.Stat(path); err != nil {
			return err
		}
	}
	return nil
}

// compile writes the program of a launch. The order is part of the protection: what
// needs a right stands before the right is given up, and nothing of the plugin runs
// before the last.
func compile(s *Spec, c *channel, null *os.File) (*program, error) {
	p := newProgram()
	p.deadline(launchLimit)
	files := p.lift(append([]*os.File{or(s.Stdin, null), or(s.Stdout, null), or(s.Stderr, null)}, s.Files...))
	c.lift(p)
	p.join(s.Group)
	p.call("begin a session", unix.SYS_SETSID)
	p.tryWriteFile("/proc/self/oom_score_adj", oomScore)
	p.call("become a subreaper", unix.SYS_PRCTL, num(unix.PR_SET_CHILD_SUBREAPER), num(1), none, none, none)
	// As service managers set it: what it makes where it may write is for others to read,
	// its own directories are closed to them.
	p.call("set the file mode mask", unix.SYS_UMASK, num(0o022))
	if s.confined(Full) {
		if err := p.isolate(s, c); err != nil {
			return nil, err
		}
	}
	p.call("enter "+s.Dir, unix.SYS_CHDIR, p.text(s.Dir))
	p.dropPrivileges(s.User)
	if s.confined(Confined) {
		rules, err := rulesOf(s)
		if err != nil {
			return nil, err
		}
		free := s.Network.All || s.confined(Full) && len(s.Network.Ports) == 0 // else the network namespace is the boundary
		p.restrict(s.Host.LandlockABI, rules, free, s.Network.Ports)
	}
	if err := p.limit(append(s.Limits.rlimits(), markLimit()...)); err != nil {
		return nil, err
	}
	p.dieWithParent()
	p.descriptors(files)
	if err := p.filter(s, c); err != nil {
		return nil, err
	}
	p.deadline(0)
	return p, p.execute(s)
}

func or(f, otherwise *os.File) *os.File {
	if f == nil {
		return otherwise
	}
	return f
}

// deadline has the kernel end this process after a while; 0 takes that back. Timers
// survive execve(2).
func (p *program) deadline(after time.Duration) {
	timer := &unix.Itimerval{Value: unix.NsecToTimeval(int64(after))}
	p.call("set the deadline of the launch", unix.SYS_SETITIMER, num(unix.ITIMER_REAL), pointer(p, timer), none)
}

// lift copies descriptors to where those of the plugin do not overwrite them.
func (p *program) lift(files []*os.File) []register {
	out := make([]register, len(files))
	for i, f := range files {
		p.hold = append(p.hold, f)
		out[i] = p.keep(p.call("copy descriptor "+strconv.Itoa(i), unix.SYS_FCNTL, num(f.Fd()), num(unix.F_DUPFD_CLOEXEC), num(firstHigh)))
	}
	return out
}

// descriptors puts the plugin's where it expects them and has all others closed by
// execve(2).
func (p *program) descriptors(files []register) {
	for i, fd := range files {
		p.call("place descriptor "+strconv.Itoa(i), unix.SYS_DUP3, result(fd), num(i), none)
	}
	if unix.CloseRange(math.MaxInt32, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		p.call("close inherited descriptors", unix.SYS_CLOSE_RANGE, num(len(files)), num(uint32(math.MaxUint32)), num(unix.CLOSE_RANGE_CLOEXEC))
		return
	}
	for _, fd := range openDescriptors(len(files)) { // Linux < 5.11
		p.try(unix.SYS_FCNTL, num(fd), num(unix.F_SETFD), num(unix.FD_CLOEXEC))
	}
}

// openDescriptors lists ours from first on. Those that come up later are Go's own,
// which closes them at execve(2) anyway.
func openDescriptors(first int) []int {
	var out []int
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= first {
			out = append(out, fd)
		}
	}
	return out
}

func (p *program) tryWriteFile(path, content string) {
	first := len(p.ops)
	p.writeFile("write "+path, path, content)
	for i := first; i < len(p.ops); i++ {
		p.ops[i].judge = may
	}
}

// isolate moves the process into namespaces of its own and a private root.
func (p *program) isolate(s *Spec, c *channel) error {
	p.flags |= namespaces
	if !privileged() {
		p.flags |= unix.CLONE_NEWUSER
		p.mapIDs()
	}
	if !s.Network.All && len(s.Network.Ports) == 0 {
		p.flags |= unix.CLONE_NEWNET
		p.listen(s.Network.Listen, c)
	}
	v, err := viewOf(s)
	if err != nil {
		return err
	}
	v.compile(p, s)
	return nil
}

// rulesOf are what Landlock lets the process do with files. At level full the view
// mostly holds only what may be read: then reading needs one rule.
func rulesOf(s *Spec) ([]rule, error) {
	var out []rule
	switch {
	case s.confined(Full) && !s.onlySeen():
		out = append(out, rule{path: "/", rights: rightsRead})
	case s.confined(Full):
		out = append(readRules(s), rule{path: "/proc", rights: rightsRead, optional: true}, rule{path: "/etc/hosts", rights: rightsRead, optional: true})
		for _, m := range s.Mounts {
			if !m.Stat {
				out = append(out, rule{path: m.Target, rights: rightsRead, file: !isDir(m.Source), optional: true})
			}
		}
	default:
		out = append(readRules(s), procRules...)
	}
	if s.confined(Full) {
		out = append(out, rule{path: "/tmp", rights: rightsWrite}, rule{path: "/dev/shm", rights: rightsWrite})
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom"} {
		out = append(out, rule{path: "/dev/" + name, rights: unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE, optional: true})
	}
	for _, path := range []string{s.Temp, s.Home} {
		if path != "" {
			out = append(out, rule{path: path, rights: rightsWrite})
		}
	}
	for _, path := range s.Write {
		out = append(out, rule{path: path, rights: rightsWrite, optional: true})
	}
	return out, limitToFiles(out)
}

// readRules let the process read what it consists of and what is granted.
func readRules(s *Spec) []rule {
	out := baseRules()
	for _, path := range append(s.shown(), s.Code...) {
		out = append(out, rule{path: path, rights: rightsRead})
	}
	for _, path := range s.Read {
		out = append(out, rule{path: path, rights: rightsRead, optional: true})
	}
	if s.Network.All || len(s.Network.Ports) > 0 {
		for _, path := range networkFiles {
			out = append(out, resolved(path)...)
		}
	}
	return out
}

// limitToFiles takes the rights that only directories have off rules for files.
func limitToFiles(rules []rule) error {
	for i := range rules {
		r := &rules[i]
		info, err := os.Stat(r.path)
		switch {
		case r.file, err == nil && !info.IsDir():
			r.rights &= rightsFile
		case err != nil && !r.optional:
			return err
		}
	}
	return nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// limit sets the resource limits, as far down as ours allow.
func (p *program) limit(limits []rlimit) error {
	for i := range limits {
		if err := limits[i].clamp(); err != nil {
			return err
		}
		p.call("set resource limit "+strconv.Itoa(limits[i].Resource), unix.SYS_PRLIMIT64, none, num(limits[i].Resource), pointer(p, &limits[i].Value), none)
	}
	return nil
}

// lifeline is a pipe whose writing end only this process holds: its end is ours.
var lifeline = sync.OnceValues(func() (ends [2]int, err error) {
	err = unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK)
	return ends, err
})

// dieWithParent arms the death signal and then sees that the parent has not died
// before: nobody would ever send it (prctl(2)). A process in another process-id
// namespace cannot ask who its parent is, but reading from the lifeline of a living
// one would block.
func (p *program) dieWithParent() {
	p.call("die with the agent", unix.SYS_PRCTL, num(unix.PR_SET_PDEATHSIG), num(int(unix.SIGKILL)), none, none, none)
	ends, err := lifeline()
	if err != nil {
		return // without descriptors the launch fails elsewhere
	}
	p.call("let the lifeline go", unix.SYS_CLOSE, num(ends[1]))
	buffer := new([1]byte)
	o := p.call("see that the agent lives", unix.SYS_READ, num(ends[0]), pointer(p, buffer), num(1))
	o.judge, o.want = failing, uintptr(unix.EAGAIN)
}

// filter appends the system call filter, and hands its listener to the agent where
// connect(2) and bind(2) are brokered.
func (p *program) filter(s *Spec, c *channel) error {
	if !s.confined(Limited) {
		return nil
	}
	policy := seccomp.Policy{Network: seccomp.None, Namespaced: s.confined(Full), Broker: c.brokered}
	if s.confined(Confined) { // else Landlock holds nothing, whatever the kernel has
		policy.LandlockABI = s.Host.LandlockABI
	}
	switch {
	case s.Network.All:
		policy.Network = seccomp.All
	case len(s.Network.Ports) > 0, len(s.Network.Listen) > 0:
		policy.Network = seccomp.TCP
	}
	code, err := seccomp.Filter(policy)
	if err != nil {
		return fmt.Errorf("make the system call filter: %w", err)
	}
	p.hold = append(p.hold, code)
	prog := &unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	if !c.brokered {
		c.send(p) // what the filter may refuse comes before it
		p.call("filter system calls", unix.SYS_SECCOMP, num(unix.SECCOMP_SET_MODE_FILTER), none, pointer(p, prog))
		return nil
	}
	o := p.call("filter system calls", unix.SYS_SECCOMP, num(unix.SECCOMP_SET_MODE_FILTER), num(broker.FilterFlags()), pointer(p, prog))
	c.add(o)
	c.send(p)
	return nil
}

func (p *program) execute(s *Spec) error {
	argv, err := syscall.SlicePtrFromStrings(s.Args)
	if err != nil {
		return fmt.Errorf("arguments: %w", err)
	}
	envv, err := syscall.SlicePtrFromStrings(s.Env)
	if err != nil {
		return fmt.Errorf("environment: %w", err)
	}
	p.hold = append(p.hold, argv, envv)
	p.call("execute it", unix.SYS_EXECVE, p.text(s.Path), pointer(p, &argv[0]), pointer(p, &envv[0]))
	return nil
}

// adopt makes this process the parent of what its plugins leave behind.
func adopt() {
	// Linux >= 3.4 cannot refuse it.
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}
