package grant

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stavily/agents/shared/internal/mountinfo"
	"github.com/stavily/agents/shared/pkg/plugin"
)

func TestParseSockets(t *testing.T) {
	got := parseSockets([]byte("Num       RefCount Protocol Flags    Type St Inode Path\n" +
		"0000000000000000: 00000002 00000000 00010000 0001 01 18235 /run/a b  c.sock\n" +
		"0000000000000000: 00000003 00000000 00000000 0001 03  1825\n" +
		"0000000000000000: 00000002 00000000 00010000 0005 01 18236 @/tmp/abstract\n" +
		"0000000000000000: 00000002 00000000 00010000 0001 01 18237 relative.sock\n"))
	if !slices.Equal(got, []string{"/run/a b  c.sock"}) {
		t.Errorf("%q", got)
	}
}

// A protected directory is protected under each of its names.
func TestAliases(t *testing.T) {
	h := &host{mounts: []mountinfo.Mount{
		{Device: "8:1", Root: "/", Point: "/", Type: "ext4"},
		{Device: "8:2", Root: "/", Point: "/var", Type: "ext4"},
		{Device: "8:2", Root: "/lib", Point: "/mnt/lib", Type: "ext4"},                 // above it
		{Device: "8:2", Root: "/lib/agent/certificates", Point: "/keys", Type: "ext4"}, // below it
		{Device: "8:2", Root: "/log", Point: "/mnt/log", Type: "ext4"},                 // beside it
		{Device: "8:3", Root: "/", Point: "/mnt/other", Type: "ext4"},                  // another disk
		{Device: "8:2", Root: "/", Point: "/snap", Type: "ext4"},                       // all of it
	}}
	got := h.aliases("/var/lib/agent")
	if want := []string{"/mnt/lib/agent", "/keys", "/snap/lib/agent"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Grants of a directory above never bring devices and the kernel's files along to write.
func TestRootIsCarved(t *testing.T) {
	p := everything
	p.Protected = []string{tree(t, "x")}
	for _, private := range []bool{false, true} {
		g := resolve(t, Request{Kind: plugin.Action, Private: private, Policy: p, Asks: plugin.Permissions{Read: []string{"/"}, Write: []string{"/"}}})
		for _, path := range []string{"/proc", "/sys", "/dev"} {
			if withinAny(path, g.Write) {
				t.Errorf("private %v: %s can be written: %q", private, path, g.Write)
			}
		}
		if private {
			continue
		}
		for _, path := range []string{"/proc", "/dev", p.Protected[0]} {
			if withinAny(path, g.Read) {
				t.Errorf("%s can be read: %q", path, g.Read)
			}
		}
	}
}

func TestProc(t *testing.T) {
	const gone = "is not there, so it is left out"
	for _, c := range []struct {
		ask    string
		read   []string // without a /proc of its own
		mounts []Mount  // with one
		told   string
	}{
		{"/proc/meminfo", []string{"/proc/meminfo"}, []Mount{{Source: "/proc/meminfo", Target: "/dev/host/proc/meminfo"}}, "granted"},
		{"/proc/mounts", nil, []Mount{{Source: "/proc/1/mounts", Target: "/dev/host/proc/1/mounts"}}, "granted /proc/1/mounts"},
		{"/proc/1/mountinfo", nil, []Mount{{Source: "/proc/1/mountinfo", Target: "/dev/host/proc/1/mountinfo"}}, "granted"},
		{"/proc/self/status", nil, nil, "granted"},
		{"/proc/1/environ", nil, nil, "denied: tells about one process: of process 1 plugins are granted mounts, mountinfo, mountstats, net, stat, status, cgroup"},
		{"/proc/1/root/etc", nil, nil, "denied: tells about one process: of process 1 plugins are granted mounts, mountinfo, mountstats, net, stat, status, cgroup"},
		{"/proc/" + strconv.Itoa(os.Getpid()) + "/environ", nil, nil, "denied: tells about one process, and another one each time"},
		{"/proc/kcore", nil, nil, "denied: shows or changes the kernel itself: no plugin is granted it"},
		{"/proc/nothing", nil, nil, "denied: " + gone},
	} {
		asks := plugin.Permissions{Read: []string{c.ask}}
		g := resolve(t, Request{Kind: plugin.Sensor, Policy: everything, Asks: asks})
		if diff := cmp.Diff(c.read, g.Read, cmpopts.EquateEmpty()); diff != "" || len(g.Mounts) != 0 || g.HostProc != "" {
			t.Errorf("%s: read (-want +got):\n%s and %+v", c.ask, diff, g)
		}
		g = resolve(t, Request{Kind: plugin.Sensor, Policy: everything, Asks: asks, Private: true})
		if diff := cmp.Diff(c.mounts, g.Mounts, cmpopts.EquateEmpty()); diff != "" || len(g.Read) != 0 || (g.HostProc != "") != (len(c.mounts) > 0) {
			t.Errorf("%s: mounts (-want +got):\n%s and %+v", c.ask, diff, g)
		}
		if got, want := g.Account[0].String(), "read "+c.ask+": "+c.told; got != want {
			t.Errorf("told %q\nwant %q", got, want)
		}
	}
}

// All of /proc is shown without the agent's own process, and never to be written.
func TestWholeProc(t *testing.T) {
	g := resolve(t, Request{Kind: plugin.Action, Policy: everything, Private: true, Asks: plugin.Permissions{Write: []string{"/proc"}}})
	want := Grants{
		Mounts: []Mount{{Source: "/proc", Target: HostProc}}, HostProc: HostProc, Masks: []string{HostProc + "/" + strconv.Itoa(os.Getpid())},
		Account: []Decision{{Use: "write", Asked: "/proc", Granted: []string{"/proc"}, Why: "/proc is read only"}},
	}
	if exists("/proc/kcore") && !slices.Contains(g.Masks, HostProc+"/kcore") {
		t.Errorf("the kernel's memory is shown: masks %q", g.Masks)
	}
	g.Masks = slices.DeleteFunc(g.Masks, func(p string) bool { return slices.Contains(kernelMemory, strings.TrimPrefix(p, HostProc+"/")) })
	if diff := cmp.Diff(want, g); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWholeProcWithoutOnesOwn(t *testing.T) {
	g := resolve(t, Request{Kind: plugin.Sensor, Policy: everything, Asks: plugin.Permissions{Read: []string{"/proc"}}})
	if !slices.Contains(g.Read, "/proc/meminfo") || withinAny("/proc/kcore", g.Read) || withinAny("/proc/"+strconv.Itoa(os.Getpid())+"/environ", g.Read) || withinAny("/proc/1/environ", g.Read) {
		t.Errorf("granted %q", g.Read)
	}
	if want := "read /proc: granted: without the processes, which only level full shows"; g.Account[0].String() != want {
		t.Errorf("told %q, want %q", g.Account[0], want)
	}
}

// An agent in a container grants the host's places where they are mounted.
func TestHostPlaces(t *testing.T) {
	root := tree(t, "proc/1/mounts", "proc/meminfo", "etc/hostname", "etc/s=", "etc/out->other/secret", "other/secret")
	host := map[string]string{"/proc": root + "/proc", "/etc": root + "/etc"}
	for ask, want := range map[string][]string{
		"/proc/mounts":           {"proc/1/mounts"},
		root + "/proc/meminfo":   {"proc/meminfo"},
		root + "/proc/7/environ": nil,
		"/etc/hostname":          {"etc/hostname", "/etc/hostname"},
		"/etc":                   {"etc", "/etc"},
	} {
		for _, private := range []bool{false, true} {
			g := resolve(t, Request{Kind: plugin.Sensor, Private: private, Policy: everything, Host: host, Asks: plugin.Permissions{Read: []string{ask}}})
			var got []string
			for _, p := range g.Read {
				if strings.HasPrefix(p, root) {
					p = strings.TrimPrefix(p, root+"/")
				}
				got = append(got, p)
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) || len(g.Mounts) > 0 {
				t.Errorf("%s: %q and %v, want %q", ask, got, g.Mounts, want)
			}
		}
	}
}

func TestDevices(t *testing.T) {
	for ask, want := range map[string]string{
		"/dev":         "denied: holds devices: name each that is needed",
		"/dev/urandom": "granted",
		"/dev/fd":      "",
		"/dev/mem":     "denied: is the machine's memory: no plugin is granted it",
		"/dev/vda":     "denied: is a block device, which holds every file, also the agent's key: no plugin is granted one",
	} {
		if _, err := os.Lstat(ask); err != nil {
			continue
		}
		for _, use := range []plugin.Permissions{{Read: []string{ask}}, {Write: []string{ask}}} {
			g := resolve(t, Request{Kind: plugin.Action, Policy: everything, Asks: use})
			_, got, _ := strings.Cut(g.Account[0].String(), ": ")
			if want != "" && got != want {
				t.Errorf("%s: told %q, want %q", ask, got, want)
			}
			if all := slices.Concat(g.Read, g.Write); (len(all) > 0) != (want == "granted") {
				t.Errorf("%s: granted %q", ask, all)
			}
		}
	}
}

// The data of an orchestrator on the same host is known by its socket.
func TestOrchestratorIsProtected(t *testing.T) {
	root := tree(t, "data/operator.sock=", "data/ca.key", "x")
	for _, ask := range []string{"data", "data/ca.key", "data/operator.sock"} {
		g := resolve(t, Request{Kind: plugin.Action, Policy: everything, Asks: plugin.Permissions{Read: []string{root + "/" + ask}}})
		if len(g.Read) > 0 {
			t.Errorf("%s is granted", ask)
		}
	}
	g := resolve(t, Request{Kind: plugin.Action, Private: true, Policy: everything, Asks: plugin.Permissions{Read: []string{root}}})
	if !slices.Equal(g.Masks, []string{root + "/data"}) {
		t.Errorf("masks %q", g.Masks)
	}
}

// Where the root of the process is its own, the host's is seen beside it, without what
// is protected and without sockets, so that sizes of file systems are the host's.
func TestHostRootIsSeen(t *testing.T) {
	root := tree(t, "base/key", "srv/s=", "srv/x")
	p := everything
	p.Protected = []string{root + "/base", "/nowhere"}
	asks := plugin.Permissions{Stat: []string{"/"}}
	g := resolve(t, Request{Kind: plugin.Sensor, Private: true, Policy: p, Asks: asks})
	if want := []Mount{{Source: "/", Target: HostRoot, Stat: true}}; !slices.Equal(g.Mounts, want) || g.HostRoot != HostRoot || len(g.Stat) > 0 {
		t.Errorf("%+v", g)
	}
	for _, path := range []string{root + "/base", root + "/srv", "/proc", "/sys", "/dev", "/run"} {
		if !withinAny(HostRoot+path, g.Masks) {
			t.Errorf("%s is seen: masks %q", path, g.Masks)
		}
	}
	if withinAny(HostRoot+"/nowhere", g.Masks) || withinAny(HostRoot+root+"/x", g.Masks) {
		t.Errorf("masks %q", g.Masks)
	}
	if g := resolve(t, Request{Kind: plugin.Sensor, Policy: p, Asks: asks}); len(g.Mounts)+len(g.Masks)+len(g.Stat) > 0 || g.HostRoot != "" {
		t.Errorf("without a root of its own: %+v", g)
	}
}

func TestUnseen(t *testing.T) {
	root := tree(t, "vol/s=", "dir/s=", "base/x")
	f := &files{host: &host{mounts: []mountinfo.Mount{{Point: root + "/vol"}, {Point: root + "/base"}}}}
	got := relative(root, f.unseen([]string{root + "/vol/s", root + "/dir/s", root + "/base", root + "/gone"}))
	if want := []string{"vol/s", "dir"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// BenchmarkResolve is what each launch pays.
func BenchmarkResolve(b *testing.B) {
	r := Request{Kind: plugin.Action, Private: true, Policy: everything, Asks: plugin.Permissions{Read: []string{"/etc/ssl", "/proc/mounts"}, Write: []string{"/var/log"}}}
	r.Policy.Protected = []string{"/var/lib/stavily", b.TempDir()}
	for b.Loop() {
		if _, err := Resolve(r); err != nil {
			b.Fatal(err)
		}
	}
}

// The kernel's settings are read, never written, also by their own names.
func TestKernelIsReadOnly(t *testing.T) {
	for _, path := range []string{"/sys/kernel", "/sys/kernel/mm"} {
		if _, err := os.Lstat(path); err != nil {
			continue
		}
		g := resolve(t, Request{Kind: plugin.Action, Policy: everything, Asks: plugin.Permissions{Write: []string{path}}})
		if want := "write " + path + ": granted: is the kernel's, and read only"; len(g.Write) > 0 || !slices.Equal(g.Read, []string{path}) || g.Account[0].String() != want {
			t.Errorf("%+v, want %q", g, want)
		}
	}
}
