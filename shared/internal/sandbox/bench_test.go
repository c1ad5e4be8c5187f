//go:build unix

package sandbox

import (
	"os/exec"
	"testing"
)

// BenchmarkStart is what a plugin's process costs above that of plain fork and
// exec, from Start until nothing is left of it.
func BenchmarkStart(b *testing.B) {
	s := Spec{Path: "/bin/true", Args: []string{"true"}, Dir: "/"}
	for b.Loop() {
		p, err := Start(b.Context(), s)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPlainExec(b *testing.B) {
	for b.Loop() {
		if err := exec.Command("/bin/true").Run(); err != nil {
			b.Fatal(err)
		}
	}
}
