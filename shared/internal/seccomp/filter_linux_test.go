package seccomp

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// The policies of the levels: full, confined with broker on a new kernel, the same on
// an old one, and confined without a broker.
var (
	full     = Policy{Namespaced: true, LandlockABI: 7}
	confined = Policy{LandlockABI: 7, Broker: true}
	old      = Policy{LandlockABI: 2, Broker: true}
	bare     = Policy{}
)

func with(p Policy, n Net) Policy { p.Network = n; return p }

// every is all policies that make sense.
func every() (all []Policy) {
	for _, n := range []Net{None, TCP, All} {
		for _, namespaced := range []bool{false, true} {
			for abi := range 10 {
				all = append(all,
					Policy{Network: n, Namespaced: namespaced, LandlockABI: abi},
					Policy{Network: n, Namespaced: namespaced, LandlockABI: abi, Broker: true},
					Policy{Network: n, Namespaced: namespaced, LandlockABI: abi, NoConnect: true})
			}
		}
	}
	return all
}

func TestPolicyIsChecked(t *testing.T) {
	for _, p := range []Policy{{Network: -1}, {Network: All + 1}, {LandlockABI: -1}, {Broker: true, NoConnect: true}} {
		if program, err := Filter(p); err == nil || program != nil {
			t.Errorf("Filter(%+v) = %d instructions, %v; want an error", p, len(program), err)
		}
	}
}

// TestEveryCallIsDecided makes a call of a new kernel a conscious choice: with a new
// x/sys, its number must be put into a list, for either architecture.
func TestEveryCallIsDecided(t *testing.T) {
	said, err := exec.Command("go", "list", "-f", "{{.Dir}}", "golang.org/x/sys/unix").Output()
	if err != nil {
		t.Fatal(err)
	}
	sys := strings.TrimSpace(string(said))
	shared := named(t, "calls_linux.go", "arguments_linux.go", "sockets_linux.go")
	for _, arch := range []string{"amd64", "arm64"} {
		decided := slices.Concat(shared, named(t, "calls_linux_"+arch+".go"))
		known := 0
		for _, name := range declared(t, filepath.Join(sys, "zsysnum_linux_"+arch+".go")) {
			known++
			// Not a call: where the numbers of an architecture's own calls begin; it has none.
			if !slices.Contains(decided, name) && name != "SYS_ARCH_SPECIFIC_SYSCALL" {
				t.Errorf("%s: %s is in no list: decide whether plugins may call it", arch, name)
			}
		}
		if known < 300 {
			t.Errorf("%s: %d calls found, want at least 300", arch, known)
		}
	}
}

// named returns the unix.SYS_ names that files of this package mention.
func named(t *testing.T, files ...string) (names []string) {
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && strings.HasPrefix(sel.Sel.Name, "SYS_") {
				names = append(names, sel.Sel.Name)
			}
			return true
		})
	}
	return names
}

func declared(t *testing.T, path string) (names []string) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			names = append(names, spec.Names[0].Name)
		}
		return true
	})
	return names
}

// TestLists holds every policy to the lists, call by call.
func TestLists(t *testing.T) {
	lists := []struct {
		calls []uint32
		want  string
	}{
		{slices.Concat(harmless, olderHarmless), "allow"},
		{slices.Concat(refused, olderRefused), "EPERM"},
		{slices.Concat(absent, olderAbsent), "ENOSYS"},
	}
	for _, p := range every() {
		program := filter(t, p)
		for _, list := range lists {
			for _, nr := range list.calls {
				if got := decision(t, program, nr, 1, 2, 3, 4, 5, 6); got != list.want {
					t.Errorf("%+v: call %d: %s, want %s", p, nr, got, list.want)
				}
			}
		}
		for _, list := range [][]uint32{hostPaths, olderHostPaths} {
			want := "EPERM"
			if p.Namespaced {
				want = "allow"
			}
			for _, nr := range list {
				if got := decision(t, program, nr, 1, 2, 3); got != want {
					t.Errorf("%+v: call %d: %s, want %s", p, nr, got, want)
				}
			}
		}
	}
}

func TestForeignAndUnknownCalls(t *testing.T) {
	const i386, arm = 0x40000003, 0x40000028 // AUDIT_ARCH_I386, AUDIT_ARCH_ARM
	for _, p := range every() {
		program := filter(t, p)
		for _, c := range []struct {
			arch, nr uint32
			want     string
		}{
			{i386, 4, "kill"}, {arm, 4, "kill"}, {0, 0, "kill"}, {auditArch &^ 0x40000000, unix.SYS_READ, "kill"},
			{auditArch, x32Bit | unix.SYS_READ, "kill"}, {auditArch, x32Bit | 545, "kill"}, {auditArch, 0x7fffffff, "kill"},
			{auditArch, 600, "ENOSYS"}, {auditArch, 5000, "ENOSYS"}, {auditArch, x32Bit - 1, "ENOSYS"},
			{auditArch, 0x80000000, "ENOSYS"}, {auditArch, 0xffffffff, "ENOSYS"},
		} {
			v, _, err := evaluate(program, call{nr: c.nr, arch: c.arch})
			if err != nil || say(v) != c.want {
				t.Errorf("%+v: arch %#x call %#x: %s, %v; want %s", p, c.arch, c.nr, say(v), err, c.want)
			}
		}
	}
}

// TestProgramAgreesWithDiagram asks the program and the diagram it was assembled from
// the same random questions: long jumps, shared and skipped loads do not matter.
func TestProgramAgreesWithDiagram(t *testing.T) {
	word := rapid.OneOf(rapid.Uint32(), rapid.Uint32Range(0, 40), rapid.SampledFrom([]uint32{0, 1 << 6, 1 << 31, whole}))
	rapid.Check(t, func(t *rapid.T) {
		d := diagram{}
		pool := []*node{allow, kill, denied, notify}
		for range rapid.IntRange(1, 900).Draw(t, "nodes") {
			from := source{4 * rapid.Uint32Range(0, 15).Draw(t, "word"), rapid.SampledFrom([]uint32{whole, 0xf, 0xff00}).Draw(t, "mask")}
			pick := func() *node { return pool[rapid.IntRange(0, len(pool)-1).Draw(t, "next")] }
			op := rapid.SampledFrom([]uint16{unix.BPF_JEQ, unix.BPF_JGE, unix.BPF_JSET}).Draw(t, "op")
			pool = append(pool, d.ask(node{from: from, op: op, k: word.Draw(t, "k"), yes: pick(), no: pool[len(pool)-1]}))
		}
		root := pool[len(pool)-1]
		program, err := assemble(root)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			c := call{nr: word.Draw(t, "nr"), arch: word.Draw(t, "arch")}
			for i := range c.args {
				c.args[i] = uint64(word.Draw(t, "high"))<<32 | uint64(word.Draw(t, "low"))
			}
			got, _, err := evaluate(program, c)
			if want := root.walk(c); err != nil || got != want {
				t.Fatalf("%+v: %s, %v; the diagram says %s", c, say(got), err, say(want))
			}
		}
	})
}

func (n *node) walk(c call) uint32 {
	data := c.bytes()
	for !n.leaf {
		b := data[n.from.offset:]
		w := (uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24) & n.from.mask
		yes := n.op == unix.BPF_JEQ && w == n.k || n.op == unix.BPF_JGE && w >= n.k || n.op == unix.BPF_JSET && w&n.k != 0
		if yes {
			n = n.yes
		} else {
			n = n.no
		}
	}
	return n.verdict
}

func TestSizeOfPrograms(t *testing.T) {
	const most, deepest = 400, 40 // instructions; a longer way is a mistake in the search
	largest, longest := 0, 0
	for _, p := range every() {
		program := filter(t, p)
		largest = max(largest, len(program))
		for nr := range uint32(500) {
			_, steps, _ := evaluate(program, call{nr: nr, arch: auditArch})
			longest = max(longest, steps)
		}
	}
	t.Logf("at most %d instructions, %d of them run for a call", largest, longest)
	if largest > most || longest > deepest {
		t.Errorf("%d instructions, %d run; want at most %d and %d", largest, longest, most, deepest)
	}
}

func TestProgramsAreTheCallersOwn(t *testing.T) {
	first := filter(t, confined)
	want := slices.Clone(first)
	clear(first)
	if got := filter(t, confined); !slices.Equal(got, want) {
		t.Error("a caller that changed its program changed everybody's")
	}
}

func BenchmarkFilterFirst(b *testing.B) {
	for b.Loop() {
		if _, err := build(old); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFilterAgain(b *testing.B) {
	for b.Loop() {
		if _, err := Filter(old); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCalls gives the price of a call. For the price under a filter let the test
// binary launch itself:
//
//	go test -c && SECCOMP_TEST_POLICY='{"LandlockABI":2}' ./seccomp.test "$PWD/seccomp.test" -test.run '^$' -test.bench Calls
func BenchmarkCalls(b *testing.B) {
	for _, c := range []struct {
		name string
		nr   uintptr
		args [2]uintptr
	}{
		{"always allowed", unix.SYS_GETPPID, [2]uintptr{}},
		{"by argument", unix.SYS_FCNTL, [2]uintptr{0, unix.F_GETFD}},
		{"longest way", unix.SYS_PRCTL, [2]uintptr{unix.PR_GET_DUMPABLE, 0}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				unix.RawSyscall(c.nr, c.args[0], c.args[1], 0)
			}
		})
	}
}
