package broker

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/shared/internal/seccomp"
)

const bindPrelude = `
def bound(address, kind=socket.SOCK_STREAM):
    s = socket.socket(socket.AF_UNIX, kind); s.bind(address); return s
def rawbind(fd, address, length=None):
    if libc.bind(fd, address, len(address) if length is None else length) < 0: return errno.errorcode[ctypes.get_errno()]
    return "ok"
def name(address):
    s = bound(address); r = s.getsockname(); s.close(); return r
`

// quiet is a plugin without network: listen is not brokered.
var quiet = seccomp.Policy{Network: seccomp.None, Broker: true}

// expectUnder is expect with a policy.
func expectUnder(t *testing.T, w way, p seccomp.Policy, dir, code string, rules Rules, want ...string) *plugin {
	t.Helper()
	g := start(t, w, p, dir, bindPrelude+code, rules)
	out, err := g.finish(t)
	if got := strings.TrimSpace(out); err != nil || got != strings.Join(want, "\n") {
		t.Errorf("%v\n%s\nwant\n%s", err, got, strings.Join(want, "\n"))
	}
	return g
}

func TestBindToPaths(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		agent, temp, foreign := shortDir(t), shortDir(t), shortDir(t)
		relative := "s"
		if w.exchange { // without unshare
			relative = temp + "/s"
		}
		g := expectUnder(t, w, quiet, temp, fmt.Sprintf(`
A, F, T = %q, %q, os.getcwd()
print(name(T + "/a")); print(name("s")); os.mkdir("d"); print(name(T + "//d/./b")); os.chdir("d"); print(attempt(name, "c").endswith("c")); os.chdir(T)
print(attempt(bound, "a"), attempt(bound, "absent/a"), attempt(bound, "a/b"), attempt(bound, T), attempt(bound, T + "/"))
print(attempt(bound, A + "/new"), attempt(bound, F + "/new"), attempt(bound, "../x"), attempt(bound, T + "/../x"), attempt(bound, "/etc/passwd"))
os.symlink(F + "/new", "dangling"); os.symlink(F, "out"); os.symlink("d", "in")
print(attempt(bound, "dangling"), attempt(bound, "out/new"), attempt(bound, T + "/out/new"), name("in/e") != "")
os.chdir(F); print(attempt(bound, "new"), attempt(bound, "/proc/self/cwd/new")); os.chdir(T)
print(sorted(os.listdir(F)), sorted(os.listdir(A)))
s = bound("twice"); [bound("n%%d" %% i).close() for i in range(70)]; print(attempt(s.bind, T + "/again"), os.path.exists("again"))
`, agent, foreign), Rules{Sockets: []string{agent + "/agent.sock"}, Below: []string{temp}},
			temp+"/a", relative, temp+"//d/./b", "True",
			"EADDRINUSE ENOENT ENOTDIR EACCES EACCES",
			"EACCES EACCES EACCES EACCES EACCES",
			"EADDRINUSE EACCES EACCES True",
			"EACCES EACCES",
			"[] []",
			"EINVAL False")
		if e := g.events[0]; !e.Allowed || e.Call != "bind" || e.Target != temp+"/a" || e.Errno != 0 {
			t.Errorf("first event: %+v", e)
		}
		for _, e := range g.events {
			if e.Errno == unix.EACCES && e.Allowed {
				t.Errorf("refused, and reported as allowed: %+v", e)
			}
		}
	})
}

// TestAbstractNames: they are the host's, whoever binds them first is the service.
func TestAbstractNames(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		temp := shortDir(t)
		squat := "stavily-squat-" + filepath.Base(temp)
		for name, p := range map[string]seccomp.Policy{"none": quiet, "tcp": policy, "all": {Network: seccomp.All, Broker: true}} {
			g := expectUnder(t, w, p, temp, fmt.Sprintf(`
print(attempt(bound, "\0%s"), attempt(bound, b"\0" + bytes(107)), attempt(bound, ""), attempt(bound, "\0x", socket.SOCK_SEQPACKET))
s = socket.socket(socket.AF_UNIX); f = s.fileno()
print(rawbind(f, b"\1\0"), rawbind(f, b"\1\0\0"), rawbind(f, b"\1"), rawbind(f, b""), rawbind(f, b"\1\0" + b"x" * 109), rawbind(f, b"x", -1), rawbind(f, b"\2\0" + bytes(14)), rawbind(-1, b"\1\0x"), rawbind(0, b"\1\0x") in ("ENOTSOCK", "EBADF"))
print(repr(s.getsockname()))
`, squat), Rules{Below: []string{temp}, Listen: func(netip.AddrPort) bool { return true }},
				"EACCES EACCES EACCES EACCES", "EACCES EACCES EINVAL EINVAL EINVAL EINVAL EINVAL EBADF True", "''")
			if e := g.events[0]; e.Allowed || e.Target != "@"+squat {
				t.Errorf("%s: first event: %+v", name, e)
			}
		}
		// The control: the name is free for those who may have it.
		must(net.Listen("unix", "@"+squat)).Close()
	})
}

const servers = `
import multiprocessing, multiprocessing.managers, multiprocessing.connection, asyncio, socketserver, tempfile
def manager():
    with multiprocessing.Manager() as m:
        d = m.dict(); p = multiprocessing.Process(target=d.update, args=({"a": 1},)); p.start(); p.join(); return dict(d)
async def streams(path):
    async def serve(r, w): w.write(await r.readline()); await w.drain(); w.close()
    s = await asyncio.start_unix_server(serve, path)
    r, w = await asyncio.open_unix_connection(path); w.write(b"line\n"); got = (await r.readline()).decode().strip(); w.close(); s.close(); return got
class Echo(socketserver.StreamRequestHandler):
    def handle(self): self.wfile.write(self.rfile.readline())
def threaded(path):
    with socketserver.ThreadingUnixStreamServer(path, Echo) as s:
        threading.Thread(target=s.serve_forever, daemon=True).start(); c = unix(path); c.sendall(b"line\n"); r = c.recv(10).decode().strip(); s.shutdown(); return r
print(manager(), asyncio.run(streams("streams")), asyncio.run(streams(os.getcwd() + "/again")), threaded("threaded"))
`

func TestPythonServers(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		temp := shortDir(t)
		t.Setenv("TMPDIR", temp)
		policies := []seccomp.Policy{quiet}
		if !w.exchange { // else listen is refused to plugins with a network
			policies = append(policies, policy)
		}
		for _, p := range policies {
			expectUnder(t, w, p, must(os.MkdirTemp(temp, "")), servers,
				Rules{Below: []string{temp}, Own: isChildOf(t)}, "{'a': 1} line line line")
		}
	})
}

// TestOtherUser runs the plugin as a user that is not the agent's: its sockets are its
// own, where it may not write none is made, and its umask counts.
func TestOtherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("takes root")
	}
	const uid, gid = 54321, 54322
	each(t, func(t *testing.T, w way) {
		temp := openDir(t)
		ensure(t, os.Mkdir(temp+"/own", 0o700))
		ensure(t, os.Chown(temp+"/own", uid, gid))
		ensure(t, os.Mkdir(temp+"/closed", 0o755))
		mode := "0o750 0o700"
		if w.exchange { // the agent's umask
			mask := unix.Umask(0o22)
			defer unix.Umask(mask)
			mode = "0o755 0o755"
		}
		expectUnder(t, w, quiet, temp, fmt.Sprintf(`
os.setgroups([54323]); os.setgid(%[2]d); os.setuid(%[1]d); libc.prctl(4, 1, 0, 0, 0)
def made(mask, path):
    os.umask(mask); bound(path).close(); s = os.stat(path); assert (s.st_uid, s.st_gid) == (%[1]d, %[2]d), s; return oct(s.st_mode & 0o7777)
os.chdir("own")
print(made(0o027, os.getcwd() + "/a"), made(0o077, "b"))
print(attempt(bound, "../closed/a"), attempt(bound, os.path.dirname(os.getcwd()) + "/closed/a"))
s = bound("c"); s.listen(); c = unix(os.getcwd() + "/c"); a, _ = s.accept(); a.sendall(b"x"); print(c.recv(1).decode())
`, uid, gid), Rules{Below: []string{temp}}, mode, "EACCES EACCES", "x")
		var st unix.Stat_t
		if err := unix.Stat(temp+"/own/a", &st); err != nil || st.Uid != uid || st.Gid != gid {
			t.Errorf("own/a belongs to %d:%d, %v", st.Uid, st.Gid, err)
		}
		if mask := unix.Umask(0o22); mask != 0o22 {
			t.Errorf("the test's own umask became %#o", mask)
		}
	})
}

// openDir is a directory that every user may go to.
func openDir(t *testing.T) string {
	t.Helper()
	dir := shortDir(t)
	for d := dir; d != "/"; d = filepath.Dir(d) {
		st := must(os.Stat(d))
		if st.Mode().Perm()&0o001 != 0 {
			continue
		}
		if !strings.HasPrefix(d, filepath.Dir(filepath.Dir(dir))) || d == filepath.Dir(filepath.Dir(dir)) {
			t.Skip(d + " is closed to other users: set TMPDIR")
		}
		ensure(t, os.Chmod(d, st.Mode().Perm()|0o011))
	}
	return dir
}

// TestBindRenames has the plugin swap what its path names while it binds. Sockets may
// be made anywhere in its directory, never outside.
func TestBindRenames(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		temp, foreign := shortDir(t), shortDir(t)
		expectUnder(t, w, quiet, temp, fmt.Sprintf(`
F = %q
os.mkdir("real"); stop = False
def swap():
    while not stop:
        for to in ("real", F):
            try: os.symlink(to, "new"); os.rename("new", "dir")
            except OSError: pass
t = threading.Thread(target=swap); t.start()
seen = set()
for i in range(400):
    for path in ("dir/%%d" %% i, os.getcwd() + "/dir/a%%d" %% i):
        r = attempt(bound, path); seen.add(r if isinstance(r, str) else r.close())
stop = True; t.join()
print(os.listdir(F), seen - {None, "EACCES", "ENOENT"}, len(os.listdir("real")) > 0)
`, foreign), Rules{Below: []string{temp}}, "[] set() True")
	})
}

// TestBindAddressesAreSwapped changes the address in memory while bind runs, between
// one in the plugin's directory, an abstract name and a path outside.
func TestBindAddressesAreSwapped(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		temp, foreign := shortDir(t), shortDir(t)
		expectUnder(t, w, quiet, temp, fmt.Sprintf(`
F = %q.encode()
own = b"\1\0" + os.getcwd().encode() + b"/s"; length = max(len(own), len(F) + 4) + 1
fill = lambda b: b.ljust(length, b"\0")
own, out, abstract = fill(own), fill(b"\1\0" + F + b"/s"), fill(b"\1\0\0abstract-swap")
a = ctypes.create_string_buffer(own, length)
stop = False
def swap():
    while not stop: ctypes.memmove(a, abstract, length); ctypes.memmove(a, own, length); ctypes.memmove(a, out, length); ctypes.memmove(a, own, length)
t = threading.Thread(target=swap); t.start()
names, answers = set(), set()
for _ in range(400):
    s = socket.socket(socket.AF_UNIX); r = rawbind(s.fileno(), a); answers.add(r)
    if r == "ok": names.add(s.getsockname())
    s.close()
    try: os.unlink("s")
    except OSError: pass
stop = True; t.join()
print(any(isinstance(n, bytes) and n[:1] == b"\0" for n in names), {n for n in names if n != os.getcwd() + "/s"}, os.listdir(F), len(answers) > 1)
`, foreign), Rules{Below: []string{temp}}, "False set() [] True")
	})
}

func TestBindToPorts(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		code := `
def at(address, kind=socket.SOCK_STREAM, family=socket.AF_INET):
    s = socket.socket(family, kind); s.bind(address); return s
def port(*a):
    s = at(*a); r = s.getsockname(); s.close(); return r[0] + " " + str(r[1] > 0)
`
		expectUnder(t, w, policy, t.TempDir(), code+`
print(attempt(port, ("127.0.0.1", 0)), attempt(port, ("::1", 0), socket.SOCK_STREAM, socket.AF_INET6), attempt(port, ("0.0.0.0", 8080)))
`, Rules{}, "EACCES EACCES EACCES")

		var asked []string
		listen := func(a netip.AddrPort) bool { asked = append(asked, a.String()); return a.Port() != 4 }
		expectUnder(t, w, seccomp.Policy{Network: seccomp.All, Broker: true}, t.TempDir(), code+`
print(port(("127.0.0.1", 0)), port(("0.0.0.0", 0), socket.SOCK_DGRAM), attempt(port, ("127.0.0.1", 4)), attempt(port, ("198.51.100.1", 0)))
s = at(("127.0.0.1", 0)); s.listen(); c = socket.create_connection(s.getsockname()); a, _ = s.accept(); a.sendall(b"x"); print(c.recv(1).decode(), attempt(s.bind, ("127.0.0.1", 0)), attempt(c.bind, ("127.0.0.1", 0)))
f = socket.socket(); print(attempt(at, s.getsockname()), rawbind(f.fileno(), b"\2\0"), rawbind(f.fileno(), b"\1\0/x" + bytes(12)))
u = at(("127.0.0.1", 0), socket.SOCK_DGRAM); v = at(("127.0.0.1", 0), socket.SOCK_DGRAM); v.sendto(b"y", u.getsockname()); print(u.recv(1).decode(), attempt(u.bind, ("127.0.0.1", 0)))
n = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); n.bind((0, 0)); print(n.getsockname()[0] > 0)
n.send(struct.pack("IHHII", 24, 18, 0x301, 1, 0) + bytes(8)); print(len(n.recv(8192)) > 0, len(socket.getaddrinfo("localhost", 80)) > 0)
`, Rules{Listen: listen, Dial: func(netip.AddrPort) bool { return true }},
			"127.0.0.1 True 0.0.0.0 True EACCES EADDRNOTAVAIL", "x EINVAL EINVAL", "EADDRINUSE EINVAL EAFNOSUPPORT", "y EINVAL", "True", "True True")
		if len(asked) < 3 || asked[0] != "127.0.0.1:0" || asked[1] != "0.0.0.0:0" || asked[2] != "127.0.0.1:4" {
			t.Errorf("Listen was asked about %q", asked)
		}
	})
}

// TestLowPorts: the agent may bind to them, the plugin may not.
func TestLowPorts(t *testing.T) {
	low, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil || strings.TrimSpace(string(low)) == "0" || os.Geteuid() != 0 {
		t.Skip("every port is everybody's, or the agent has no privilege")
	}
	each(t, func(t *testing.T, w way) {
		expectUnder(t, w, seccomp.Policy{Network: seccomp.All, Broker: true}, t.TempDir(), `
os.setgid(54321); os.setuid(54321); libc.prctl(4, 1, 0, 0, 0)
print(attempt(socket.socket().bind, ("127.0.0.1", 1)))
`, Rules{Listen: func(netip.AddrPort) bool { return true }}, "EACCES")
	})
}

// TestBindLeavesTheAgentAlone: threads that bind do not survive, and what they became
// is no other thread's.
func TestBindLeavesTheAgentAlone(t *testing.T) {
	temp := shortDir(t)
	privileges := "NoNewPrivs:\t1"
	if st := must(os.ReadFile("/proc/self/status")); strings.Contains(string(st), privileges) {
		privileges = "never"
	}
	before := threads(t)
	fds := descriptors(t)
	expectUnder(t, way{exchange: !canBorrow()}, quiet, temp, `
os.umask(0o777)
for i in range(200): attempt(bound, str(i))
print("done")
`, Rules{Below: []string{temp}}, "done")
	for _, name := range must(os.ReadDir("/proc/self/task")) {
		st := must(os.ReadFile("/proc/self/task/" + name.Name() + "/status"))
		if strings.Contains(string(st), "Umask:\t0777") || strings.Contains(string(st), privileges) {
			t.Errorf("thread %s is still another's: %s", name.Name(), st)
		}
	}
	if after := threads(t); after > before+20 {
		t.Errorf("%d threads before, %d after", before, after)
	}
	if after := descriptors(t); after > fds {
		t.Errorf("%d descriptors before, %d after", fds, after)
	}
	if err := syscall.Mkdir(temp+"/mine", 0o700); err != nil {
		t.Error(err)
	}
}

func threads(t *testing.T) int {
	t.Helper()
	return len(must(os.ReadDir("/proc/self/task")))
}

func ensure(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// BenchmarkBind makes a socket, binds it to a path, closes and removes it.
func BenchmarkBind(b *testing.B) {
	for _, name := range []string{"none", "borrow", "exchange"} {
		b.Run(name, func(b *testing.B) {
			p := quiet
			p.Broker = name != "none"
			temp := shortDir(b)
			g := start(b, ways[name], p, temp, fmt.Sprintf(`
begun = time.perf_counter()
for _ in range(%d):
    f = libc.socket(1, 1, 0); libc.bind(f, b"\1\0own.sock", 10); libc.close(f); libc.unlink(b"own.sock")
print((time.perf_counter() - begun) * 1e9)
`, b.N), Rules{Below: []string{temp}})
			out, err := g.finish(b)
			if err != nil {
				b.Fatal(err, out)
			}
			b.ReportMetric(must(strconv.ParseFloat(strings.TrimSpace(out), 64))/float64(b.N), "ns/bind")
		})
	}
}
