package seccomp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// underFilter carries the policy to the test binary re-executed as launcher: it puts
// the filter on and becomes the program in its arguments.
const underFilter = "SECCOMP_TEST_POLICY"

func TestMain(m *testing.M) {
	if policy := os.Getenv(underFilter); policy != "" {
		fmt.Fprintln(os.Stderr, "launch:", launch(policy, os.Args[1:]))
		os.Exit(125)
	}
	os.Exit(m.Run())
}

func launch(policy string, args []string) error {
	var p Policy
	if err := json.Unmarshal([]byte(policy), &p); err != nil {
		return err
	}
	program, err := Filter(p)
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	os.Unsetenv(underFilter)
	env, path := os.Environ(), args[0]
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&fprog))); errno != 0 {
		return errno
	}
	return syscall.Exec(path, args, env)
}

// run runs a program under p and returns what it printed.
func run(t *testing.T, p Policy, args ...string) (string, error) {
	t.Helper()
	policy, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), underFilter+"="+string(policy), "PYTHONDONTWRITEBYTECODE=1")
	cmd.Dir = t.TempDir()
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func need(t *testing.T, path string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Skip(path + " is not here")
	}
	return path
}

// policies that CPython must work under, all with sockets of their own.
var realPolicies = map[string]Policy{
	"full":     with(full, TCP),
	"confined": {Network: TCP, LandlockABI: 7},
	"none":     {LandlockABI: 7},
	"all":      {Network: All, LandlockABI: 7},
	"old":      {Network: TCP},
}

// ordinary are programs that plugins are made of, each printing ok at its end.
var ordinary = map[string]string{
	"threads": `
import threading, queue, concurrent.futures as f
q = queue.Queue()
ts = [threading.Thread(target=q.put, args=(i,)) for i in range(20)]
[t.start() for t in ts]; [t.join() for t in ts]
with f.ThreadPoolExecutor(8) as p: assert sum(p.map(lambda x: x * x, range(100))) == 328350`,
	"subprocess": `
import subprocess, os, sys
assert subprocess.run(["/bin/sh", "-c", "echo a | tr a b; ls / | head -1 >/dev/null; exec cat"], input=b"x", capture_output=True, check=True).stdout == b"b\nx"
p = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, start_new_session=True)
assert p.poll() is None
if restricted:  # a number says nothing; the broker would look
    try: p.kill(); raise SystemExit("killed")
    except PermissionError: p.stdin.close(); assert p.wait() == 0
else:
    p.kill(); assert p.wait() == -9
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], os.environ); os.kill(pid, 15); os.waitpid(pid, 0)
assert os.waitstatus_to_exitcode(os.waitpid(os.fork() or os._exit(7), 0)[1]) == 7`,
	"asyncio": `
import asyncio, sys
async def main():
    p = await asyncio.create_subprocess_exec("/bin/echo", "hi", stdout=asyncio.subprocess.PIPE)
    assert (await p.communicate())[0] == b"hi\n"
    await asyncio.wait_for(asyncio.to_thread(sum, range(10)), 5)
    s = await asyncio.start_unix_server(lambda r, w: w.close(), "s.sock")
    r, w = await asyncio.open_unix_connection("s.sock"); assert await r.read() == b""
    w.close(); s.close()
asyncio.run(main())`,
	"ssl": `
import ssl, hashlib, secrets, hmac, uuid
c = ssl.create_default_context(); a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
o = c.wrap_bio(a, b, server_hostname="x")
try: o.do_handshake()
except ssl.SSLWantReadError: pass
assert b.pending > 100
hashlib.scrypt(b"x", salt=b"y", n=2, r=8, p=1); secrets.token_bytes(); uuid.uuid4()`,
	"multiprocessing": `
import multiprocessing as m
def f(x): return x + 1
if __name__ == "__main__":
    if not restricted:
        with m.get_context("fork").Pool(2) as p: assert p.map(f, range(10)) == list(range(1, 11))
    c = m.get_context("fork"); q = c.SimpleQueue(); l = c.Lock(); e = c.Event()
    p = c.Process(target=lambda: (e.wait(), q.put(f(1)))); p.start(); e.set(); assert q.get() == 2; p.join(); assert p.exitcode == 0
    from multiprocessing import shared_memory
    s = shared_memory.SharedMemory(create=True, size=4096); s.buf[0] = 1; s.close(); s.unlink()`,
	"sqlite": `
import sqlite3, os
d = sqlite3.connect("x.db"); d.execute("pragma journal_mode=wal"); d.execute("create table t(a)")
d.executemany("insert into t values(?)", [(i,) for i in range(100)]); d.commit()
assert d.execute("select sum(a) from t").fetchone() == (4950,); d.execute("vacuum"); d.close()`,
	"files": `
import os, tempfile, shutil, json, gzip, zipfile, mmap, fcntl, glob, pathlib
with tempfile.TemporaryDirectory(dir=".") as d:
    p = pathlib.Path(d, "a"); p.write_text("x" * 100); shutil.copyfile(p, p.with_name("b")); os.replace(p, p.with_name("c"))
    with open(p.with_name("b"), "r+b") as f:
        fcntl.flock(f, fcntl.LOCK_EX); fcntl.lockf(f, fcntl.LOCK_EX); os.fchmod(f.fileno(), 0o600); os.utime(f.fileno()); os.truncate(f.fileno(), 10)
        m = mmap.mmap(f.fileno(), 10); m.close()
    os.mkfifo(os.path.join(d, "p")); os.symlink("b", os.path.join(d, "l")); os.link(os.path.join(d, "b"), os.path.join(d, "h"))
    assert len(glob.glob(d + "/*")) == 5
    with zipfile.ZipFile(d + "/z", "w") as z: z.write(d + "/b")
    shutil.make_archive(d + "/t", "gztar", d)
    if not restricted and not confined: shutil.copytree(d, d + "2", ignore=shutil.ignore_patterns("p")); os.chmod(d + "/b", 0o640); shutil.rmtree(d + "2")`,
	"process": `
import os, resource, signal, time, select, ctypes, faulthandler, locale, pty, termios
signal.signal(signal.SIGALRM, lambda *a: None); signal.setitimer(signal.ITIMER_REAL, 0.01); time.sleep(0.05)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
resource.getrusage(resource.RUSAGE_CHILDREN); os.nice(1); os.sched_setaffinity(0, os.sched_getaffinity(0)); os.getloadavg(); os.cpu_count()
e = select.epoll(); r, w = os.pipe(); e.register(r, select.EPOLLIN); os.write(w, b"x"); assert e.poll(1)
ctypes.CDLL(None).getpid(); ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 1)()
os.setsid() if os.fork() == 0 else os.wait(); os.getrandom(8); os.urandom(8); os.pidfd_open(os.getpid())`,
	"names": `
import socket, urllib.request, http.server, http.client, email, xml.etree.ElementTree, logging.config, importlib.metadata, zoneinfo, decimal, platform, getpass, pwd
platform.platform(); pwd.getpwuid(0); socket.gethostname(); list(importlib.metadata.distributions())
try: socket.getaddrinfo("localhost", 80)
except socket.gaierror: pass
a, b = socket.socketpair(); a.sendall(b"x"); assert b.recv(1) == b"x"`,
	"tcp": `
import socket, threading, http.server, urllib.request, asyncio
if network:
    s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler); threading.Thread(target=s.serve_forever, daemon=True).start()
    assert urllib.request.urlopen("http://127.0.0.1:%d/" % s.server_port, timeout=10).status == 200
    s.shutdown()
else:
    try: socket.socket(); raise SystemExit("a socket")
    except PermissionError: pass`,
}

func TestPythonWorks(t *testing.T) {
	python := need(t, "/usr/bin/python3")
	for name, p := range realPolicies {
		t.Run(name, func(t *testing.T) {
			for part, code := range ordinary {
				facts := fmt.Sprintf("restricted, confined, network = %t, %t, %t\n", p.signals(), !p.Namespaced, p.Network != None)
				facts = strings.NewReplacer("true", "True", "false", "False").Replace(facts)
				if out, err := run(t, p, python, "-c", facts+code+"\nprint('ok', flush=True)"); err != nil || !strings.HasSuffix(out, "ok\n") {
					t.Errorf("%s: %v\n%s", part, err, out)
				}
			}
		})
	}
}

func TestOtherProgramsWork(t *testing.T) {
	programs := [][]string{
		{"/bin/sh", "-c", `set -e; mkdir d; echo x >d/a; cp d/a d/b; mv d/b d/c; ln -s a d/l; tar cf - d | tar tf - >/dev/null; grep -r x d | sort | wc -l; find d -type f -exec cat {} +; rm -r d; (sleep 0.01 & wait); date >/dev/null; test "$(echo a | sed s/a/b/)" = b`},
		{"/usr/bin/node", "-e", `const fs=require('fs'),cp=require('child_process'),{Worker}=require('worker_threads');fs.writeFileSync('a','x');fs.readFileSync('a');cp.execFileSync('/bin/echo',['x']);require('crypto').randomBytes(8);new Worker('require("worker_threads").parentPort.postMessage(1)',{eval:true}).on('message',()=>fs.readFile('a',()=>console.log('x')))`},
		{"/usr/bin/perl", "-e", `fork or exit; wait; print "x\n"`},
		{"/usr/bin/gcc", "-x", "c", "/dev/null", "-S", "-o", "-"},
		{"/usr/bin/git", "init", "-q", "."},
	}
	for name, p := range realPolicies {
		for _, args := range programs {
			if _, err := os.Stat(args[0]); err != nil {
				t.Log(args[0], "is not here")
				continue
			}
			if args[0] == "/usr/bin/git" && !p.Namespaced {
				continue // sets modes by path
			}
			if out, err := run(t, p, args...); err != nil {
				t.Errorf("%s: %s: %v\n%s", name, args[0], err, out)
			}
		}
	}
}

// attempts are refused in every policy, with this errno name in what Python says.
var attempts = map[string]struct{ code, want string }{
	"unshare":      {`c(ctypes.c_long(272), 0x10000000)`, "EPERM"},
	"ptrace":       {`c(ctypes.c_long(101), 0, 0, 0, 0)`, "EPERM"},
	"bpf":          {`c(ctypes.c_long(321), 0, 0, 0)`, "EPERM"},
	"keyctl":       {`c(ctypes.c_long(250), 0, -3, 1)`, "EPERM"},
	"userfaultfd":  {`c(ctypes.c_long(323), 1)`, "EPERM"},
	"io_uring":     {`c(ctypes.c_long(425), 1, 0)`, "ENOSYS"},
	"clone3":       {`c(ctypes.c_long(435), 0, 0)`, "ENOSYS"},
	"memfd":        {`os.memfd_create("x")`, "ENOSYS"},
	"mount":        {`c(ctypes.c_long(165), 0, 0, 0, 0, 0)`, "EPERM"},
	"chroot":       {`os.chroot("/")`, "EPERM"},
	"personality":  {`c(ctypes.c_long(135), 0x0040000)`, "EPERM"},
	"mark":         {`c(ctypes.c_long(160), 10, (ctypes.c_ulong * 2)(1, 1))`, "EPERM"},
	"mark prlimit": {`c(ctypes.c_long(302), 0, 10, (ctypes.c_ulong * 2)(1, 1), None)`, "EPERM"},
	"prlimit":      {`c(ctypes.c_long(302), os.getppid(), 7, (ctypes.c_ulong * 2)(1, 1), None)`, "EPERM"},
	"affinity":     {`os.sched_setaffinity(os.getppid(), {0})`, "EPERM"},
	"priority":     {`os.setpriority(os.PRIO_PROCESS, os.getppid(), 1)`, "EPERM"},
	"setuid file":  {`os.open("x", os.O_CREAT | os.O_WRONLY, 0o4755)`, "EPERM"},
	"setuid mode":  {`os.fchmod(os.open("y", os.O_CREAT | os.O_WRONLY), 0o2755)`, "EPERM"},
	"device":       {`os.mknod("z", 0o20600, 259)`, "EPERM"},
	"TIOCSTI":      {`fcntl.ioctl(0, 0x5412, b"x")`, "EPERM"},
	"immutable":    {`fcntl.ioctl(os.open(".", 0), 0x40086602, b"\x10\0\0\0\0\0\0\0")`, "EPERM"},
	"death signal": {`c(ctypes.c_long(157), 1, 0)`, "EPERM"},
	"netlink":      {`socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9)`, "EAFNOSUPPORT"},
	"vsock":        {`socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)`, "EAFNOSUPPORT"},
	"alg":          {`socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)`, "EAFNOSUPPORT"},
	"packet":       {`socket.socket(socket.AF_PACKET, socket.SOCK_RAW)`, "EAFNOSUPPORT"},
	"raw":          {`socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)`, "EACCES"},
	"listener":     {`c(ctypes.c_long(317), 1, 8, 0)`, "EPERM"},
	"handle":       {`c(ctypes.c_long(303), -100, 0, 0, 0, 0)`, "EPERM"},
}

const attemptPrelude = `
import ctypes, os, errno, resource, fcntl, socket
libc = ctypes.CDLL(None, use_errno=True)
def c(*a):
    r = libc.syscall(*a)
    if r < 0: raise OSError(ctypes.get_errno(), "")
    return r
def attempt(f):
    try: f(); return "worked"
    except OSError as e: return errno.errorcode[e.errno].replace("ENOTSUP", "EOPNOTSUPP")
`

func TestAttemptsAreRefused(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the numbers below are of amd64")
	}
	python := need(t, "/usr/bin/python3")
	var code bytes.Buffer
	code.WriteString(attemptPrelude)
	for name, a := range attempts {
		fmt.Fprintf(&code, "print(%q, attempt(lambda: %s), sep='=')\n", name, a.code)
	}
	for policy, p := range realPolicies {
		out, err := run(t, p, python, "-c", code.String())
		if err != nil {
			t.Errorf("%s: %v\n%s", policy, err, out)
		}
		got := map[string]string{}
		for line := range strings.Lines(out) {
			name, result, _ := strings.Cut(strings.TrimSpace(line), "=")
			got[name] = result
		}
		for name, a := range attempts {
			if got[name] != a.want {
				t.Errorf("%s: %s: %s, want %s", policy, name, got[name], a.want)
			}
		}
	}
}

// TestForeignCallsKill makes a 32-bit call with machine code: int 0x80.
func TestForeignCallsKill(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("machine code of amd64")
	}
	const code = `
import mmap, ctypes, os
m = mmap.mmap(-1, 4096, prot=7); m.write(%s)
ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(m)))(); print("alive")`
	python := need(t, "/usr/bin/python3")
	for name, machine := range map[string]string{
		"int 0x80": `b"\xb8\x14\0\0\0\xcd\x80\xc3"`,   // getpid of i386
		"x32":      `b"\xb8\x27\0\0\x40\x0f\x05\xc3"`, // getpid of x32
	} {
		t.Run(name, func(t *testing.T) {
			killed := func(err error, by syscall.Signal) bool {
				var exit *exec.ExitError
				return errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == by
			}
			call := fmt.Sprintf(code, machine)
			if err := exec.CommandContext(t.Context(), python, "-c", call).Run(); killed(err, unix.SIGSEGV) {
				t.Skip("this machine kills whoever makes such a call, filter or not")
			}
			if out, err := run(t, full, python, "-c", call); !killed(err, unix.SIGSYS) {
				t.Errorf("%v %q, want death by SIGSYS", err, out)
			}
		})
	}
}

// TestHostPathsAreRefused: what only namespaces make harmless, really tried.
func TestHostPathsAreRefused(t *testing.T) {
	python := need(t, "/usr/bin/python3")
	code := attemptPrelude + `
open("f", "w").close()
for f in (lambda: os.chmod("f", 0o600), lambda: os.chown("f", -1, -1), lambda: os.utime("f"), lambda: os.setxattr("f", "user.a", b"x"),
          lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)):
    print(attempt(f))
os.fchmod(os.open("f", 0), 0o600); os.utime(os.open("f", 0))`
	for policy, want := range map[string]string{
		"confined": "EPERM EPERM EPERM EPERM EACCES EACCES",
		"full":     "worked worked worked worked worked worked",
	} {
		out, err := run(t, realPolicies[policy], python, "-c", code)
		got := strings.ReplaceAll(strings.Join(strings.Fields(out), " "), "EOPNOTSUPP", "worked") // tmpfs without xattr
		if err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", policy, got, err, want)
		}
	}
}
