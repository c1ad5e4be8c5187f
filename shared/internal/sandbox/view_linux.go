package sandbox

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// view is what a plugin of level full sees instead of the host's files: a root
// directory in memory, sealed when it is complete, with the host's directories
// mounted where they are on the host, so that paths mean the same on both sides.
//
//	/                     tmpfs, read-only
//	├─ usr bin lib etc/…  of the host, read-only         (baseView)
//	├─ proc               of the plugin's own process ids
//	├─ dev/{null,…} shm   the harmless devices; shared memory of its own
//	├─ tmp = <Temp>       tmpfs of limited size
//	├─ <Home>             of the host, writable
//	└─ <Code>, <Read>, <Write>
type view struct {
	nodes []node
}

// node is one place in a view.
type node struct {
	target string // path in the view
	kind   kind
	source string // bind: path on the host; link: where it leads; file: its content
	dir    bool   // bind: whether source is a directory
	attr   uint64 // bind: of mount_setattr(2)
	data   string // tmpfs: options
	flimsy bool   // bind: left out when it has gone since it was looked at
	cover  bool   // hides a place of the host, if that is still there; a tmpfs is read-only once all is in it
}

type kind uint8

const (
	bind  kind = iota // a place of the host
	tmpfs             // an empty directory in memory
	proc              // proc(5)
	link              // a symbolic link
	file              // a small file of our own
	again             // the tmpfs that stands at source, a second time
)

// Attributes of mounts. None ever honours a set-user-ID bit.
const (
	attrRead    = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	attrGrant   = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	attrPrivate = attrGrant | unix.MOUNT_ATTR_NOEXEC
	attrDevice  = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC
)

// baseDirs hold the programs and libraries of every system; where /usr is merged
// (file-hierarchy(7)) most are links into it.
var baseDirs = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store"}

// baseFiles are what programs read about the system itself. None is secret, which
// /etc as a whole is not.
var baseFiles = []string{
	"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives",
	"/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/services", "/etc/protocols", "/etc/host.conf", "/etc/gai.conf",
	"/etc/localtime", "/etc/timezone", "/etc/os-release", "/etc/lsb-release", "/etc/debian_version", "/etc/redhat-release", "/etc/alpine-release",
	"/etc/mime.types", "/etc/magic", "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/ssl/cert.pem", "/etc/ca-certificates",
	"/etc/pki/tls/certs", "/etc/pki/tls/cert.pem", "/etc/pki/tls/openssl.cnf", "/etc/pki/ca-trust/extracted", "/etc/crypto-policies/back-ends",
	"/etc/python3", "/etc/python3.8", "/etc/python3.9", "/etc/python3.10", "/etc/python3.11", "/etc/python3.12", "/etc/python3.13", "/etc/python3.14",
}

// networkFiles are read by who resolves names.
var networkFiles = []string{"/etc/resolv.conf", "/etc/hosts"}

// baseView is what every plugin sees. Looked at once: these places do not change
// while an agent runs, and what is missing then is missed at the mount.
var baseView = sync.OnceValue(func() []node {
	var out []node
	for _, path := range slices.Concat(baseDirs, baseFiles) {
		if n, ok := hostNode(path, attrRead); ok {
			out = append(out, n)
		}
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom"} {
		out = append(out, node{target: "/dev/" + name, kind: bind, source: "/dev/" + name, attr: attrDevice})
	}
	for name, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		out = append(out, node{target: "/dev/" + name, kind: link, source: to})
	}
	return out
})

// hostNode shows a path of the host at the same path: a link as a link.
func hostNode(path string, attr uint64) (node, bool) {
	info, err := os.Lstat(path)
	if err != nil {
		return node{}, false
	}
	if info.Mode()&os.ModeSymlink != 0 {
		to, err := os.Readlink(path)
		return node{target: path, kind: link, source: to}, err == nil
	}
	return node{target: path, kind: bind, source: path, dir: info.IsDir(), attr: attr}, true
}

// viewOf builds the view of one launch. The error names a path of the Spec that is
// not there.
func viewOf(s *Spec) (*view, error) {
	v := &view{nodes: slices.Clone(baseView())}
	scratch := tmpfsOptions(s)
	v.nodes = append(v.nodes, node{target: s.Temp, kind: tmpfs, data: scratch}, node{target: "/dev/shm", kind: tmpfs, data: scratch})
	if s.Host.Proc {
		v.nodes = append(v.nodes, node{target: "/proc", kind: proc})
		for _, path := range hostsProc() {
			v.mask(path, path)
		}
	}
	if err := v.add(s.Code, attrRead); err != nil {
		return nil, err
	}
	v.grant(slices.Concat(s.Stat, s.Read), attrRead)
	private := slices.DeleteFunc([]string{s.Home}, func(path string) bool { return path == "" })
	v.grant(s.Write, attrGrant)
	if err := v.add(private, attrPrivate); err != nil {
		return nil, err
	}
	if err := v.add(s.shown(), attrRead); err != nil {
		return nil, err
	}
	v.network(s)
	for _, m := range s.Mounts {
		info, err := os.Stat(m.Source)
		if err != nil {
			return nil, err
		}
		v.nodes = append(v.nodes, node{target: m.Target, kind: bind, source: m.Source, dir: info.IsDir(), attr: attrRead})
	}
	for _, path := range s.Masks {
		v.mask(path, s.source(path))
	}
	v.nodes = append(v.nodes, v.tmp(s, scratch))
	v.order()
	return v, nil
}

// mask puts nothing where source of the host is shown: over a directory an empty one,
// over anything else a device that cannot be opened there. What is not there need not be
// hidden, whether it went before it was looked at here or since.
func (v *view) mask(path, source string) {
	info, err := os.Stat(source)
	switch {
	case err != nil: // then there is nothing to hide
	case info.IsDir():
		v.nodes = append(v.nodes, node{target: path, kind: tmpfs, data: "mode=0555,size=64k,nr_inodes=256", cover: true})
	default:
		v.nodes = append(v.nodes, node{target: path, kind: bind, source: os.DevNull, attr: attrRead, cover: true})
	}
}

// tmp is what programs find at /tmp: the private directory of the process, or one like
// it where something has to be seen below /tmp.
func (v *view) tmp(s *Spec, scratch string) node {
	if slices.ContainsFunc(v.nodes, func(n node) bool { return within(n.target, "/tmp") }) {
		return node{target: "/tmp", kind: tmpfs, data: scratch}
	}
	return node{target: "/tmp", kind: again, source: s.Temp}
}

// hostsProc are files of every /proc that tell of the host and not of the process.
var hostsProc = sync.OnceValue(func() []string {
	return slices.DeleteFunc([]string{"/proc/keys", "/proc/key-users", "/proc/timer_list", "/proc/sched_debug", "/proc/kcore", "/proc/kallsyms"}, func(path string) bool {
		_, err := os.Stat(path)
		return err != nil
	})
})

// tmpfsOptions bound a directory in memory that belongs to the plugin.
func tmpfsOptions(s *Spec) string {
	id := s.credential()
	return fmt.Sprintf("mode=0700,uid=%d,gid=%d,size=%d,nr_inodes=%d", id.UID, id.GID,
		cmp.Or(s.Limits.TempSize, defaultTempSize), cmp.Or(s.Limits.TempFiles, defaultTempFiles))
}

// add shows paths of the host.
func (v *view) add(paths []string, attr uint64) error {
	for _, path := range paths {
		if attr == attrRead && inBase(path) {
			continue
		}
		n, ok := hostNode(path, attr)
		if !ok {
			return fmt.Errorf("show %s to the plugin: %w", path, os.ErrNotExist)
		}
		v.nodes = append(v.nodes, n)
	}
	return nil
}

// grant shows paths of the host that may come and go. One that is all of it is taken
// apart, so that what makes the view private (proc, dev, tmp) stays.
func (v *view) grant(paths []string, attr uint64) {
	for _, path := range paths {
		n, ok := hostNode(path, attr)
		switch {
		case path == "/":
			v.addRoot(attr)
		case ok && (attr != attrRead || !inBase(path)):
			n.flimsy = true
			v.nodes = append(v.nodes, n)
		}
	}
}

// inBase reports whether every plugin sees path anyway.
func inBase(path string) bool {
	return slices.ContainsFunc(baseView(), func(n node) bool { return n.kind == bind && n.dir && within(path, n.target) })
}

// ownPlaces are never the host's.
var ownPlaces = []string{"/proc", "/dev", "/tmp"}

func (v *view) addRoot(attr uint64) {
	entries, err := os.ReadDir("/")
	if err != nil {
		return // then there is nothing to show
	}
	for _, e := range entries {
		path := "/" + e.Name()
		if n, ok := hostNode(path, attr); ok && !slices.Contains(ownPlaces, path) {
			n.flimsy = true
			v.nodes = append(v.nodes, n)
		}
	}
}

// network gives the names that the process may resolve.
func (v *view) network(s *Spec) {
	switch {
	case len(s.Network.Listen) > 0:
		v.nodes = append(v.nodes, node{target: "/etc/hosts", kind: file, source: hostsOf(s.Network.Listen)})
	case s.Network.All || len(s.Network.Ports) > 0:
		for _, path := range networkFiles {
			if real, err := filepath.EvalSymlinks(path); err == nil {
				v.nodes = append(v.nodes, node{target: path, kind: bind, source: real, attr: attrRead})
			}
		}
	default:
		v.nodes = append(v.nodes, node{target: "/etc/hosts", kind: file, source: "127.0.0.1 localhost\n"})
	}
}

// order sorts parents before what is in them. Of several for one place the last
// counts: what is written over what is read, what is masked over both.
func (v *view) order() {
	last := map[string]int{}
	for i, n := range v.nodes {
		last[n.target] = i
	}
	kept := v.nodes[:0:0]
	for i, n := range v.nodes {
		if last[n.target] == i {
			kept = append(kept, n)
		}
	}
	slices.SortStableFunc(kept, func(a, b node) int { return strings.Compare(a.target, b.target) })
	v.nodes = kept
}

// within reports whether path is dir or below it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// compile appends the calls that make the view this process's root directory.
func (v *view) compile(p *program, s *Spec) {
	p.call("keep mounts from spreading to the host", unix.SYS_MOUNT, none, p.text("/"), none, num(unix.MS_REC|unix.MS_SLAVE), none)
	trees := v.pick(p)
	p.call("mount the private root on "+s.Temp, unix.SYS_MOUNT, p.text("tmpfs"), p.text(s.Temp), p.text("tmpfs"),
		num(unix.MS_NOSUID|unix.MS_NODEV), p.text("mode=0755,size=4m,nr_inodes=4096"))
	p.call("enter the private root", unix.SYS_CHDIR, p.text(s.Temp))
	made := map[string]bool{"/": true}
	for i, n := range v.nodes {
		if n.kind != again {
			v.place(p, i, n, trees, made)
		}
	}
	for i, n := range v.nodes {
		if n.kind == again { // what it shows is there by now
			v.place(p, i, n, trees, made)
		}
	}
	p.call("make the view the root directory", unix.SYS_PIVOT_ROOT, p.text("."), p.text("."))
	p.call("leave the host's root directory", unix.SYS_UMOUNT2, p.text("."), num(unix.MNT_DETACH))
	p.call("enter the view", unix.SYS_CHDIR, p.text("/"))
	p.setattr("seal the root directory", here, "/", 0, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	for _, n := range v.nodes {
		if n.cover && v.holds(n) {
			p.setattr("seal "+n.target, here, n.target, 0, attrRead|unix.MOUNT_ATTR_NOEXEC)
		}
	}
}

// pick takes hold of the host's places before the root changes: each as a mount of
// its own that is nowhere yet, so that nothing can be put into its way any more.
func (v *view) pick(p *program) map[string]register {
	trees := map[string]register{}
	for _, n := range v.nodes {
		if n.kind != bind {
			continue
		}
		label := "show " + n.source
		open := p.openPath(label, n.source)
		if n.flimsy {
			open.judge, open.skip = may, 3
		}
		fd := p.scratch(open)
		tree := p.keep(p.call(label, unix.SYS_OPEN_TREE, result(fd), p.text(""), num(unix.AT_EMPTY_PATH|unix.AT_RECURSIVE|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)))
		p.call(label, unix.SYS_CLOSE, result(fd))
		attr := &unix.MountAttr{Attr_set: n.attr}
		p.call(label, unix.SYS_MOUNT_SETATTR, result(tree), p.text(""), num(unix.AT_EMPTY_PATH|unix.AT_RECURSIVE), pointer(p, attr), num(unsafe.Sizeof(*attr)))
		p.regs[tree] = none.value - 1 // no descriptor, should it be skipped
		trees[n.target] = tree
	}
	return trees
}

func (p *program) setattr(label string, dir argument, path string, flags int, set uint64) {
	attr := &unix.MountAttr{Attr_set: set}
	p.call(label, unix.SYS_MOUNT_SETATTR, dir, p.text(path), num(flags), pointer(p, attr), num(unsafe.Sizeof(*attr)))
}

// place puts one node into the root that is being built, the working directory.
// Below a place of the host the target is there already; elsewhere it is made.
func (v *view) place(p *program, i int, n node, trees map[string]register, made map[string]bool) {
	at := p.text("." + n.target)
	label := "mount " + n.target
	ours := v.ours(i)
	if ours {
		v.makeParents(p, n.target, made)
	}
	directory := func() {
		if ours && !made[n.target] {
			p.call("make "+n.target, unix.SYS_MKDIRAT, here, at, num(0o755))
			made[n.target] = true
		}
	}
	switch n.kind {
	case link:
		if ours { // else the host has its own
			p.call("link "+n.target, unix.SYS_SYMLINKAT, p.text(n.source), here, at)
		}
	case file:
		p.newFile(n, ours)
	case tmpfs:
		directory()
		flags := unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
		if n.cover && !v.holds(n) {
			flags |= unix.MS_RDONLY
		}
		p.call(label, unix.SYS_MOUNT, p.text("tmpfs"), at, p.text("tmpfs"), num(flags), p.text(n.data)).judge = n.judge()
	case proc:
		directory()
		p.call(label, unix.SYS_MOUNT, p.text("proc"), at, p.text("proc"), num(unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_RDONLY), none)
	case again:
		directory()
		tree := p.scratch(p.call(label, unix.SYS_OPEN_TREE, here, p.text("."+n.source), num(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)))
		p.moveMount(label, tree, at)
	case bind:
		if n.dir {
			directory()
		} else if ours {
			p.call("make "+n.target, unix.SYS_MKNODAT, here, at, num(unix.S_IFREG|0o444), none)
		}
		p.moveMount(label, trees[n.target], at)
		p.ops[len(p.ops)-2].judge = n.judge()
		if n.flimsy { // without a tree there is nothing to move
			p.ops[len(p.ops)-2].judge, p.ops[len(p.ops)-1].judge = may, may
		}
	}
}

// newFile writes a file of our own. Over a place of the host it is mounted.
func (p *program) newFile(n node, ours bool) {
	label := "write " + n.target
	at := "." + n.target
	if !ours {
		at = "./." + filepath.Base(n.target)
	}
	fd := p.scratch(p.call(label, unix.SYS_OPENAT, here, p.text(at), num(unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC), num(0o444)))
	data, length := p.bytes(n.source)
	p.call(label, unix.SYS_WRITE, result(fd), data, length)
	p.call(label, unix.SYS_CLOSE, result(fd))
	p.call(label, unix.SYS_FCHMODAT, here, p.text(at), num(0o444))
	if !ours {
		tree := p.scratch(p.call(label, unix.SYS_OPEN_TREE, here, p.text(at), num(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)))
		p.moveMount(label, tree, p.text("."+n.target))
	}
}

func (p *program) moveMount(label string, tree register, at argument) {
	p.call(label, unix.SYS_MOVE_MOUNT, result(tree), p.text(""), here, at, num(unix.MOVE_MOUNT_F_EMPTY_PATH))
	p.call(label, unix.SYS_CLOSE, result(tree))
}

// ours reports whether the place of a node is in memory: the nearest mount above it is
// not the host's.
func (v *view) ours(i int) bool {
	for j := i - 1; j >= 0; j-- {
		if n := v.nodes[j]; n.kind != link && n.kind != file && within(v.nodes[i].target, n.target) {
			return n.kind == tmpfs || n.kind == again
		}
	}
	return true
}

// judge is of the call that puts a node over its place.
func (n *node) judge() judge {
	if n.cover {
		return ifThere
	}
	return must
}

// holds reports whether something is in a directory of memory.
func (v *view) holds(n node) bool {
	return n.kind == tmpfs && slices.ContainsFunc(v.nodes, func(o node) bool { return o.target != n.target && within(o.target, n.target) })
}

// makeParents makes the directories above a target.
func (v *view) makeParents(p *program, target string, made map[string]bool) {
	for i := 1; i < len(target); i++ {
		if parent := target[:i]; target[i] == '/' && !made[parent] && !v.isMount(parent) {
			p.call("make "+parent, unix.SYS_MKDIRAT, here, p.text("."+parent), num(0o755)).judge = may
			made[parent] = true
		}
	}
}

func (v *view) isMount(target string) bool {
	_, found := slices.BinarySearchFunc(v.nodes, target, func(n node, t string) int { return strings.Compare(n.target, t) })
	return found
}
