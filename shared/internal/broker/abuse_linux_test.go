package broker

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRenames has the plugin swap what its path names, between its own socket and a
// foreign one, as fast as it can while it connects.
func TestRenames(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		temp, foreign := shortDir(t), shortDir(t)
		echo(t, foreign+"/docker.sock", "docker")
		echo(t, temp+"/own.sock", "own")
		expect(t, w, temp, fmt.Sprintf(`
F = %q
os.mkdir("real"); os.link("own.sock", "real/docker.sock"); os.symlink(F, "evil")
stop = False
def swap():
    while not stop:
        for to in ("real", "evil"):
            try: os.unlink("dir")
            except OSError: pass
            try: os.symlink(to, "dir")
            except OSError: pass
t = threading.Thread(target=swap); t.start()
seen, tries, end = set(), 0, time.monotonic() + 20
while tries < 500 or len(seen) < 2 and time.monotonic() < end:  # on a busy machine the swapping may not have had its turn
    seen.add(attempt(hello, "dir/docker.sock")); tries += 1
stop = True; t.join()
print("docker" in seen, seen <= {"own", "EACCES", "ENOENT"}, len(seen) > 1)
`, foreign), Rules{Below: []string{temp}}, "False True True")
	})
}

// TestDescriptorsAreSwapped closes, duplicates and replaces the descriptor while
// connect runs: what ends up connected is at worst another socket of the plugin's,
// and only to what is allowed.
func TestDescriptorsAreSwapped(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		temp := shortDir(t)
		echo(t, temp+"/own.sock", "own")
		other := loopback(t, "other")
		g := start(t, w, policy, temp, fmt.Sprintf(`
stop = False
N = 50
address = struct.pack("<H2s4s8x", 2, struct.pack(">H", %d), bytes([127, 0, 0, 1]))
def swap():
    while not stop:
        for make in (lambda: socket.socket(socket.AF_UNIX), socket.socket, lambda: open("/dev/null")):
            f = make(); os.dup2(f.fileno(), N); f.close()
ts = [threading.Thread(target=swap) for _ in range(2)]; [t.start() for t in ts]
seen = set()
for _ in range(300):
    seen.add(raw(N, b"\1\0own.sock")); seen.add(raw(N, address))
stop = True; [t.join() for t in ts]
print(sorted(seen - {"ok", "EACCES", "EBADF", "ENOTSOCK", "EINVAL", "EAFNOSUPPORT", "EISCONN", "ECONNREFUSED", "EALREADY"}))
`, other), Rules{Below: []string{temp}})
		out, err := g.finish(t)
		if err != nil || out != "[]\n" {
			t.Errorf("%v %s", err, out)
		}
		for _, e := range g.events {
			if e.Allowed && strings.Contains(e.Target, "127.0.0.1") {
				t.Fatalf("allowed: %+v", e)
			}
		}
	})
}

// TestAddressesAreSwapped changes the address in memory while connect runs. The
// broker connects to its copy, so that what it decided about is what it does.
func TestAddressesAreSwapped(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		granted, other := loopback(t, "granted"), loopback(t, "other")
		expect(t, w, t.TempDir(), fmt.Sprintf(`
G, O = %d, %d
a = ctypes.create_string_buffer(struct.pack("<H2s4s8x", 2, struct.pack(">H", G), bytes([127, 0, 0, 1])), 16)
stop = False
def swap():
    g, o = struct.pack(">H", G), struct.pack(">H", O)
    while not stop: a[2:4] = o; a[2:4] = g
t = threading.Thread(target=swap); t.start()
peers = set()
for _ in range(500):
    s = socket.socket()
    if raw(s.fileno(), a) == "ok": peers.add(s.getpeername()[1])
    s.close()
stop = True; t.join()
print(O in peers)
`, granted, other), Rules{Dial: func(a netip.AddrPort) bool { return int(a.Port()) == granted }}, "False")
	})
}

// TestCallersDie kills processes that are in the middle of connect.
func TestCallersDie(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		temp := shortDir(t)
		echo(t, temp+"/own.sock", "own")
		rules := Rules{Below: []string{temp}, Dial: func(netip.AddrPort) bool { return true }, Own: isChildOf(t)}
		nobody := deaf(t)
		before := descriptors(t)
		expect(t, w, temp, fmt.Sprintf(`
for i in range(40):
    pid = os.fork()
    if pid == 0:
        if i %% 2: socket.socket().connect(("127.0.0.1", %d))
        while True: attempt(hello, "own.sock")
    time.sleep(0.002 * (i %% 5)); os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)
print(hello("own.sock"))
`, nobody), rules, "own")
		if after := descriptors(t); after > before {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
	})
}

// TestFlood connects from many threads at once and counts.
func TestFlood(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		temp := shortDir(t)
		echo(t, temp+"/own.sock", "own")
		g := expect(t, w, temp, `
def many():
    for _ in range(100):
        if hello("own.sock") != "own": print("lost")
        attempt(unix, "/run/docker.sock")
ts = [threading.Thread(target=many) for _ in range(20)]; [t.start() for t in ts]; [t.join() for t in ts]
print("done")
`, Rules{Below: []string{temp}}, "done")
		allowed, refused := 0, 0
		for _, e := range g.events {
			if e.Allowed {
				allowed++
			} else {
				refused++
			}
		}
		if allowed != 2000 || refused != 2000 {
			t.Errorf("%d allowed, %d refused; want 2000 each", allowed, refused)
		}
	})
}

// TestSignalsInterruptConnects has a timer interrupt calls that wait. Without
// SA_RESTART a call that the broker has not seen yet would end with EINTR.
func TestSignalsInterruptConnects(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		temp := shortDir(t)
		echo(t, temp+"/own.sock", "own")
		expect(t, w, temp, `
ticks = 0
def tick(*a):
    global ticks; ticks += 1
signal.signal(signal.SIGALRM, tick); signal.siginterrupt(signal.SIGALRM, False); signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
print({hello("own.sock") for _ in range(500)}); print(ticks > 10); signal.setitimer(signal.ITIMER_REAL, 0)
`, Rules{Below: []string{temp}}, "{'own'}", "True")
	})
}

func TestFullBacklogOfUnixSocket(t *testing.T) {
	each(t, func(t *testing.T, w way) {
		temp := shortDir(t)
		l := must(net.ListenUnix("unix", &net.UnixAddr{Name: temp + "/full.sock", Net: "unix"}))
		defer l.Close()
		raw := must(l.SyscallConn())
		raw.Control(func(fd uintptr) { unix.Listen(int(fd), 0) })
		full := make(chan struct{})
		var once sync.Once
		report := func(e Event) {
			if e.Errno == unix.EAGAIN {
				once.Do(func() { close(full) })
			}
		}
		go func() { // makes room after a while
			select {
			case <-full:
			case <-t.Context().Done():
				return
			}
			time.Sleep(100 * time.Millisecond)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
		expect(t, w, temp, `
a = unix("full.sock")
n = socket.socket(socket.AF_UNIX); n.setblocking(False); print(attempt(n.connect, "full.sock"))
t = socket.socket(socket.AF_UNIX); t.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 50000)); b = time.time(); print(raw(t.fileno(), b"\1\0full.sock") if sys.argv[1:] else "EAGAIN")
b = unix("full.sock"); print(b.getblocking(), b.recv(1))
`, Rules{Below: []string{temp}, Report: report}, "EAGAIN", "EAGAIN", "True b''")
	})
}

// isChildOf says what belongs to the plugin: descendants of this test.
func isChildOf(t *testing.T) func(int) bool {
	self := os.Getpid()
	return func(pid int) bool {
		for pid > 1 && pid != self {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err != nil {
				return false
			}
			f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
			pid, _ = strconv.Atoi(f[1])
		}
		return pid == self
	}
}

func TestSignals(t *testing.T) {
	var bystanders []int
	for _, line := range []string{"sleep 60", "true"} { // one lives, one has ended and is not waited for
		b := exec.Command("/bin/sh", "-c", "exec "+line)
		b.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := b.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { b.Process.Kill(); b.Wait() }()
		bystanders = append(bystanders, b.Process.Pid)
	}
	if err := unix.Waitid(unix.P_PID, bystanders[1], nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	child := isChildOf(t)
	ours, err := unix.Getpgid(0)
	if err != nil {
		t.Fatal(err)
	}
	own := func(pid int) bool {
		group, err := unix.Getpgid(pid) // what this test starts for itself, and is in its own group, is not the plugin's
		return pid != os.Getpid() && !slices.Contains(bystanders, pid) && child(pid) && err == nil && group != ours
	}
	each(t, func(t *testing.T, w way) {
		g := expect(t, w, t.TempDir(), fmt.Sprintf(`
import faulthandler
A, B, Z = os.getppid(), %d, %d
def sleeper(**k): return subprocess.Popen(["/bin/sleep", "60"], **k)
p = sleeper(); p.kill(); print(p.wait())
p = sleeper(); p.terminate(); print(p.wait())
p = sleeper(start_new_session=True); os.killpg(p.pid, 15); print(p.wait())
p = sleeper(); os.kill(p.pid, 9); time.sleep(0.1); print(attempt(os.kill, p.pid, 9)); p.wait(); print(attempt(os.kill, p.pid, 9))
print(attempt(os.kill, A, 9), attempt(os.kill, B, 9), attempt(os.kill, -1, 9), attempt(os.killpg, os.getpgid(A), 9), attempt(os.killpg, os.getpgid(B), 9), attempt(os.kill, 1, 9))
print(attempt(os.kill, Z, 9), attempt(os.killpg, Z, 9))
p = sleeper(start_new_session=True); p.kill(); os.waitid(os.P_PID, p.pid, os.WEXITED | os.WNOWAIT); print(attempt(os.killpg, p.pid, 9)); p.wait(); print(attempt(os.killpg, p.pid, 9))
print(attempt(os.kill, A, 0), attempt(os.kill, A, 99))
got = []
signal.signal(signal.SIGUSR1, lambda n, f: got.append(n))
os.kill(os.getpid(), signal.SIGUSR1); signal.raise_signal(signal.SIGUSR1); print(len(got))
t = threading.Thread(target=time.sleep, args=(0.5,)); t.start(); signal.pthread_kill(t.ident, signal.SIGUSR1); t.join(); print(len(got))
libc.syscall(ctypes.c_long(234), A, A, 9); print(errno.errorcode[ctypes.get_errno()])
libc.syscall(ctypes.c_long(200), A, 9); print(errno.errorcode[ctypes.get_errno()])
pid = os.fork()
if pid == 0: os.abort()
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
pid = os.fork()
if pid == 0: os.setsid(); os.killpg(os.getpid(), 15); time.sleep(5); os._exit(1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`, bystanders[0], bystanders[1]), Rules{Own: own},
			"-9", "-15", "-15", "ok", "ESRCH",
			"EPERM EPERM EPERM EPERM EPERM EPERM", "EPERM EPERM", "ok", "ESRCH", "ok EINVAL",
			"2", "3", "EPERM", "EPERM", "-6", "-15")
		if g.count("kill") == 0 {
			t.Error("no signal was reported")
		}
	})
}

func TestUnseenProcessesAreRefused(t *testing.T) {
	t.Run("unreadable", func(t *testing.T) {
		if os.Geteuid() == 0 {
			t.Skip("root reads every process")
		}
		dir := shortDir(t)
		expect(t, way{exchange: !canBorrow()}, dir, `libc.prctl(4, 0, 0, 0, 0); print(attempt(unix, "x"))`, Rules{Below: []string{dir}}, "EACCES")
	})
}

func TestPlacesMustBeThere(t *testing.T) {
	dir := shortDir(t)
	if err := os.Symlink(dir, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, rules := range []Rules{{Below: []string{dir + "/absent"}}, {Below: []string{dir + "/link"}}, {Sockets: []string{dir + "/absent/s"}}} {
		if places, err := openPlaces(rules); err == nil {
			closePlaces(places)
			t.Errorf("openPlaces(%+v): no error", rules)
		}
	}
	g := start(t, way{}, policy, dir, `time.sleep(0.2); print(attempt(unix, "x"))`, Rules{Below: []string{dir + "/absent"}})
	if err := <-g.served; err == nil {
		t.Error("Serve with an absent directory: no error")
	}
	g.served <- nil
	if out, err := g.finish(t); err != nil || out != "ENOSYS\n" {
		t.Errorf("connect without a broker: %q, %v; want ENOSYS", out, err)
	}
}

func TestBelow(t *testing.T) {
	for _, c := range []struct {
		path, dir, rel string
		ok             bool
	}{
		{"/a/b/c", "/a/b", "c", true},
		{"//a/./b//c/../d", "/a/b", "c/../d", true},
		{"/a/b", "/a/b", "", false},
		{"/a/b/", "/a/b", "", false},
		{"/a/bc", "/a/b", "", false},
		{"/a/x/../b/c", "/a/b", "", false},
		{"/../a/b/c", "/a/b", "", false},
		{"/c", "/", "", false},
		{"", "/a", "", false},
	} {
		if rel, ok := below(c.path, c.dir); rel != c.rel || ok != c.ok {
			t.Errorf("below(%q, %q) = %q, %t; want %q, %t", c.path, c.dir, rel, ok, c.rel, c.ok)
		}
	}
}

func FuzzAddress(f *testing.F) {
	f.Add([]byte("\x02\x00\x00\x50\x7f\x00\x00\x01........"))
	f.Add([]byte("\x01\x00/run/x\x00y"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if to, errno := inetAddress(b); errno == 0 && (!to.IsValid() || to.Addr().Is4In6() || reached(to).Addr().IsUnspecified()) {
			t.Errorf("inetAddress(%x) = %v", b, to)
		}
		if path, abstract, errno := unixPath(b); errno == 0 && !abstract && strings.Contains(path, "\x00") {
			t.Errorf("unixPath(%x) = %q", b, path)
		}
	})
}

// BenchmarkConnect makes a socket, connects it to a unix socket and closes it, in C
// calls from one thread of Python.
func BenchmarkConnect(b *testing.B) {
	for _, name := range []string{"none", "borrow", "exchange"} {
		b.Run(name, func(b *testing.B) {
			p := policy
			p.Broker = name != "none"
			temp := shortDir(b)
			l := must(net.Listen("unix", temp+"/own.sock"))
			defer l.Close()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					c.Close()
				}
			}()
			b.ResetTimer()
			g := start(b, ways[name], p, temp, fmt.Sprintf(`
begun = time.perf_counter()
for _ in range(%d):
    f = libc.socket(1, 1, 0); libc.connect(f, b"\1\0own.sock", 10); libc.close(f)
print((time.perf_counter() - begun) * 1e9)
`, b.N), Rules{Below: []string{temp}})
			out, err := g.finish(b)
			if err != nil {
				b.Fatal(err, out)
			}
			ns := must(strconv.ParseFloat(strings.TrimSpace(out), 64))
			b.ReportMetric(ns/float64(b.N), "ns/connect")
		})
	}
}
