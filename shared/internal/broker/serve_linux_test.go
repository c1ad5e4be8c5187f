package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/stavily/agents/shared/internal/seccomp"
)

// underFilter carries the policy to the test binary re-executed as launcher, which
// puts the filter on, sends its listener over descriptor 3 and becomes its arguments.
const underFilter = "BROKER_TEST_POLICY"

func TestMain(m *testing.M) {
	if policy := os.Getenv(underFilter); policy != "" {
		fmt.Fprintln(os.Stderr, "launch:", launch(policy, os.Args[1:]))
		os.Exit(125)
	}
	goleak.VerifyTestMain(m)
}

type launched struct {
	seccomp.Policy
	Flags uintptr
}

func launch(policy string, args []string) error {
	var p launched
	if err := json.Unmarshal([]byte(policy), &p); err != nil {
		return err
	}
	program, err := seccomp.Filter(p.Policy)
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	os.Unsetenv(underFilter)
	env := os.Environ()
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, p.Flags, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return errno
	}
	if err := unix.Sendmsg(3, []byte{0}, unix.UnixRights(int(fd)), nil, 0); err != nil {
		return err
	}
	unix.Close(int(fd))
	unix.Close(3)
	return syscall.Exec(args[0], args, env)
}

// A plugin is a program under a filter, with Serve answering for it.
type plugin struct {
	*exec.Cmd
	out    *strings.Builder
	served chan error
	cancel context.CancelFunc

	mu     sync.Mutex
	events []Event
}

// policy is the one of the tests: TCP, no namespaces, an old Landlock, so that the
// broker answers connect, listen and kill.
var policy = seccomp.Policy{Network: seccomp.TCP, Broker: true}

// start runs code with /usr/bin/python3 in dir.
func start(t testing.TB, w way, p seccomp.Policy, dir, code string, rules Rules) *plugin {
	t.Helper()
	const python = "/usr/bin/python3"
	if _, err := os.Stat(python); err != nil {
		t.Skip(python + " is not here")
	}
	if err := Supported(); err != nil {
		t.Skip(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	flags := FilterFlags()
	if w.old {
		flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	encoded, _ := json.Marshal(launched{p, flags})
	g := &plugin{Cmd: exec.Command("/proc/self/exe", python, "-c", prelude+code), out: &strings.Builder{}, served: make(chan error, 1)}
	g.Env = append(os.Environ(), underFilter+"="+string(encoded))
	g.ExtraFiles = []*os.File{theirs}
	g.Dir, g.Stdout, g.Stderr = dir, g.out, g.out
	g.WaitDelay = 5 * time.Second
	g.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // as the sandbox does
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	report := rules.Report
	rules.Report = func(e Event) {
		g.mu.Lock()
		g.events = append(g.events, e)
		g.mu.Unlock()
		if report != nil {
			report(e)
		}
	}
	var ctx context.Context
	ctx, g.cancel = context.WithCancel(context.Background())
	listener := receiveListener(t, ours)
	go func() {
		g.served <- serve(ctx, listener, rules, kernel{exchange: w.exchange, interruptible: w.old, joined: w.exchange})
	}()
	t.Cleanup(g.cancel)
	return g
}

func receiveListener(t testing.TB, from *os.File) *os.File {
	t.Helper()
	defer from.Close()
	oob := make([]byte, 64)
	_, n, _, _, err := unix.Recvmsg(int(from.Fd()), make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		t.Fatalf("no listener came: %v", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fds[0]), "listener")
}

// finish waits for the program and for Serve to notice that it is gone.
func (g *plugin) finish(t testing.TB) (string, error) {
	t.Helper()
	timer := time.AfterFunc(time.Minute, func() { g.Process.Kill() })
	defer timer.Stop()
	err := g.Wait()
	select {
	case served := <-g.served:
		if served != nil {
			t.Errorf("Serve = %v, want nil when all processes are gone", served)
		}
	case <-time.After(10 * time.Second):
		t.Error("Serve goes on 10 s after the end of the program")
	}
	return g.out.String(), err
}

// expect runs code to its end and compares what it prints, line by line.
func expect(t *testing.T, w way, dir, code string, rules Rules, want ...string) *plugin {
	t.Helper()
	g := start(t, w, policy, dir, code, rules)
	out, err := g.finish(t)
	if got := strings.Split(strings.TrimSpace(out), "\n"); err != nil || strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%v\n%s\nwant\n%s", err, out, strings.Join(want, "\n"))
	}
	return g
}

const prelude = `
import socket, os, errno, sys, threading, time, ctypes, signal, subprocess, select, struct
libc = ctypes.CDLL(None, use_errno=True)
def attempt(f, *a):
    try:
        r = f(*a)
        return "ok" if r is None else r
    except OSError as e: return errno.errorcode[e.errno]
def unix(path, kind=socket.SOCK_STREAM):
    s = socket.socket(socket.AF_UNIX, kind); s.settimeout(None); s.connect(path); return s
def hello(path):
    s = unix(path); s.sendall(b"hi"); r = s.recv(10).decode(); s.close(); return r
def raw(fd, address, length=None):
    if libc.connect(fd, address, len(address) if length is None else length) < 0: return errno.errorcode[ctypes.get_errno()]
    return "ok"
`

// A way is how sockets are taken, and what the kernel is taken for.
type way struct {
	exchange bool
	old      bool // before 5.19: any signal interrupts a call that is being answered
}

var ways = map[string]way{
	"borrow":               {},
	"exchange":             {exchange: true},
	"borrow, old kernel":   {old: true},
	"exchange, old kernel": {exchange: true, old: true},
}

// each runs a test in every way.
func each(t *testing.T, test func(t *testing.T, w way)) {
	for name, w := range ways {
		t.Run(name, func(t *testing.T) {
			if !w.exchange && !canBorrow() {
				t.Skip("pidfd_getfd is refused here")
			}
			test(t, w)
		})
	}
}

// shortDir is a directory whose name leaves room for a socket's (108 bytes).
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if len(dir) > 80 {
		t.Skip("the temporary directory has too long a name for sockets: set TMPDIR")
	}
	return dir
}

// echo answers "hi" with its name on a unix socket.
func echo(t testing.TB, path, name string) {
	t.Helper()
	serveEcho(t, must(net.Listen("unix", path)), name)
}

func serveEcho(t testing.TB, l net.Listener, name string) {
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(time.Minute))
				if n, _ := c.Read(make([]byte, 10)); n > 0 {
					fmt.Fprint(c, name)
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestAgentSocketAndOwnDirectories(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		agent, temp, foreign := shortDir(t), shortDir(t), shortDir(t)
		echo(t, agent+"/agent.sock", "agent")
		echo(t, agent+"/other.sock", "other")
		echo(t, foreign+"/docker.sock", "docker")
		g := expect(t, w, temp, fmt.Sprintf(`
A, F = %q, %q
l = socket.socket(socket.AF_UNIX); l.bind("own.sock"); 
print(hello(A + "/agent.sock"))
print(hello("/" + A + "/.//agent.sock"))
print(attempt(hello, A + "/other.sock"))
print(attempt(hello, A + "/x/../agent.sock"))
print(attempt(hello, F + "/docker.sock"))
print(attempt(hello, F + "/absent.sock"))
os.symlink(F + "/docker.sock", "link"); print(attempt(hello, "link"))
os.symlink(F, "dir"); print(attempt(hello, os.getcwd() + "/dir/docker.sock"))
print(attempt(hello, "../" + os.path.basename(F) + "/docker.sock"))
print(attempt(hello, "absent"))
open("file", "w").close(); print(attempt(hello, "file"))
os.symlink("own.sock", "inside"); print(attempt(unix, "inside"))
print(attempt(hello, "\0abstract"))
print(attempt(hello, "\0"))
os.chdir(F); print(attempt(hello, "docker.sock"))
os.chdir(A); print(hello("agent.sock"))
print(attempt(hello, "/proc/self/cwd/agent.sock"), attempt(hello, "/proc/1/root" + F + "/docker.sock"))
`, agent, foreign), Rules{Sockets: []string{agent + "/agent.sock"}, Below: []string{temp}},
			"agent", "agent", "EACCES", "EACCES", "EACCES", "EACCES", "EACCES", "EACCES", "EACCES", "ENOENT",
			"ECONNREFUSED", "ECONNREFUSED", "EACCES", "EACCES", "EACCES", "agent", "EACCES EACCES")
		if e := g.events[1]; !e.Allowed || e.Call != "connect" || e.Target != agent+"/agent.sock" || e.Errno != 0 || e.PID != g.Process.Pid {
			t.Errorf("second event: %+v", e)
		}
		if e := g.events[5]; e.Allowed || e.Target != foreign+"/docker.sock" || e.Errno != unix.EACCES {
			t.Errorf("sixth event: %+v", e)
		}
	})
}

func TestUnixServersOfThePlugin(t *testing.T) {
	const code = `
import multiprocessing.managers, asyncio
kind = socket.SOCK_SEQPACKET
l = socket.socket(socket.AF_UNIX, kind); l.bind("s"); print(attempt(l.listen, 1))
if sys.argv[1:] == []:
    c = unix("s", kind); a, _ = l.accept(); c.send(b"x"); print(a.recv(5).decode())
    print(attempt(c.connect, "s"))
    print(raw(c.fileno(), b"\1\0s"), attempt(lambda: unix("s")))
`
	t.Run("borrow", func(t *testing.T) {
		if !canBorrow() {
			t.Skip("pidfd_getfd is refused here")
		}
		dir := shortDir(t)
		expect(t, way{}, dir, code, Rules{Below: []string{dir}}, "ok", "x", "EISCONN", "EISCONN EPROTOTYPE")
	})
	// Without network, listen is not brokered; with it, and sockets exchanged, refused.
	t.Run("exchange", func(t *testing.T) {
		dir := shortDir(t)
		g := start(t, way{exchange: true}, quiet, dir, code, Rules{Below: []string{dir}})
		if out, err := g.finish(t); err != nil || out != "ok\nx\nEISCONN\nEISCONN EPROTOTYPE\n" {
			t.Errorf("%v\n%s", err, out)
		}
		dir = shortDir(t)
		expect(t, way{exchange: true}, dir, "sys.argv.append(1)\n"+code, Rules{Below: []string{dir}}, "EACCES")
	})
}

func TestGarbage(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		dir := shortDir(t)
		expect(t, w, dir, `
s = socket.socket(socket.AF_UNIX); f = s.fileno()
print(raw(999, b"\1\0x"), raw(-1, b"\1\0x"), raw(0 if not os.isatty(0) else 1, b"\1\0x"))
print(raw(f, b""), raw(f, b"\1"), raw(f, b"\1\0"), raw(f, b"\2\0" + b"x" * 14), raw(f, b"\1\0" + b"x" * 109))
print(raw(f, b"x", -1), raw(f, b"x", 129), raw(f, b"x", 2**31 - 1))
libc.connect.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint]
def at(a):
    libc.connect(f, a, 16); return errno.errorcode[ctypes.get_errno()]
print(at(0), at(1), at(2**47), at(2**63), at(2**64 - 8))
libc.connect.argtypes = None
t = socket.socket(); g = t.fileno()
print(raw(g, b"\1\0" + b"x" * 14), raw(g, b"\2\0"), raw(g, b""), raw(g, b"\7\0" + b"x" * 30), raw(g, b"\0\0" + b"x" * 14))
os.close(g); r = os.open(".", 0); print(raw(r, b"\2\0" + b"x" * 14)); os.close(r)
`, Rules{Below: []string{dir}},
			"EBADF EBADF ENOTSOCK",
			"EINVAL EINVAL EINVAL EINVAL EINVAL",
			"EINVAL EINVAL EINVAL",
			"EFAULT EFAULT EFAULT EFAULT EFAULT",
			"EAFNOSUPPORT EINVAL EINVAL EAFNOSUPPORT ok",
			"ENOTSOCK")
	})
}

func loopback(t *testing.T, name string) (port int) {
	t.Helper()
	l := must(net.Listen("tcp4", "127.0.0.1:0"))
	serveEcho(t, l, name)
	return l.Addr().(*net.TCPAddr).Port
}

func TestDial(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		granted, other := loopback(t, "granted"), loopback(t, "other")
		closed := must(net.Listen("tcp4", "127.0.0.1:0"))
		gone := closed.Addr().(*net.TCPAddr).Port
		closed.Close()
		rules := Rules{Dial: func(a netip.AddrPort) bool {
			return a.Addr() == netip.MustParseAddr("127.0.0.1") && (int(a.Port()) == granted || int(a.Port()) == gone)
		}}
		expect(t, w, t.TempDir(), fmt.Sprintf(`
import asyncio, urllib.request
G, O, C = %d, %d, %d
def tcp(host, port, timeout=None):
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET); s.settimeout(timeout)
    s.connect((host, port)); s.sendall(b"hi"); r = s.recv(10).decode(); assert s.getpeername()[1] == port; s.close(); return r
print(tcp("127.0.0.1", G), tcp("127.0.0.1", G, 5), tcp("::ffff:127.0.0.1", G), tcp("0.0.0.0", G))
print(attempt(tcp, "127.0.0.1", O), attempt(tcp, "127.0.0.1", O, 5), attempt(tcp, "127.0.0.2", G), attempt(tcp, "::1", G))
print(attempt(tcp, "127.0.0.1", C), attempt(tcp, "127.0.0.1", C, 5))
s = socket.create_connection(("localhost", G)); s.sendall(b"hi"); print(s.recv(10).decode(), attempt(s.connect, ("127.0.0.1", G)))
n = socket.socket(); n.setblocking(False)
print(n.connect_ex(("127.0.0.1", G)) in (0, errno.EINPROGRESS)); select.select([], [n], [], 5); print(n.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), n.connect_ex(("127.0.0.1", G)) in (0, errno.EISCONN))
print(n.getblocking(), os.get_inheritable(n.fileno()))
async def go():
    r, w = await asyncio.open_connection("127.0.0.1", G); w.write(b"hi"); print((await r.read(10)).decode()); w.close()
    try: await asyncio.open_connection("127.0.0.1", O)
    except PermissionError: print("refused")
asyncio.run(go())
l = socket.socket(); print(attempt(l.listen))
`, granted, other, gone), rules,
			"granted granted granted granted", "EACCES EACCES EACCES EACCES", "ECONNREFUSED ECONNREFUSED",
			"granted EISCONN", "True", "0 True", "False False", "granted", "refused", "EACCES")
	})
}

// TestNobodyAnswers connects to an address whose SYNs are dropped: a listener whose
// backlog is full.
func TestNobodyAnswers(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		addr := deaf(t)
		rules := Rules{Dial: func(netip.AddrPort) bool { return true }}
		code := fmt.Sprintf(`
def tcp(timeout):
    s = socket.socket(); s.settimeout(timeout); s.connect(("127.0.0.1", %d))
try: tcp(0.3)
except TimeoutError: print("timed out", flush=True)
ts = [threading.Thread(target=tcp, args=(None,), daemon=True) for _ in range(30)]
[t.start() for t in ts]
time.sleep(0.3); print("waiting", flush=True); os._exit(0) if sys.argv[1:] else time.sleep(60)
`, addr)
		before := descriptors(t)
		expect(t, w, t.TempDir(), "sys.argv.append(1)\n"+code, rules, "timed out", "waiting")
		g := start(t, w, policy, t.TempDir(), code, rules)
		for begun := time.Now(); g.count("connect") < 2 && time.Since(begun) < time.Second; {
			time.Sleep(10 * time.Millisecond)
		}
		g.cancel()
		select {
		case err := <-g.served:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Serve = %v, want canceled", err)
			}
		case <-time.After(3 * time.Second):
			t.Error("Serve goes on 3 s after its context ended")
		}
		g.Process.Kill()
		g.Wait()
		if after := descriptors(t); after > before {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
	})
}

func (g *plugin) count(call string) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range g.events {
		if e.Call == call {
			n++
		}
	}
	return n
}

func descriptors(t *testing.T) int {
	t.Helper()
	return len(must(os.ReadDir("/proc/self/fd")))
}

// deaf is the port of a listener that accepts nobody and has no room left.
func deaf(t *testing.T) int {
	t.Helper()
	fd := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	t.Cleanup(func() { unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	port := must(unix.Getsockname(fd)).(*unix.SockaddrInet4).Port
	for range 4 {
		c, err := net.DialTimeout("tcp4", fmt.Sprintf("127.0.0.1:%d", port), 200*time.Millisecond)
		if err != nil {
			return port
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Skip("this kernel has room for everybody")
	return 0
}
