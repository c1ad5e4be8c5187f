package processors

import (
	"runtime"
	"testing"
)

func TestEnsure(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	t.Setenv("GOMAXPROCS", "1")
	if Ensure(); runtime.GOMAXPROCS(0) != 1 {
		t.Error("what was set is changed")
	}
	t.Setenv("GOMAXPROCS", "")
	if Ensure(); runtime.GOMAXPROCS(0) != enough {
		t.Errorf("%d processors, want %d", runtime.GOMAXPROCS(0), enough)
	}
	runtime.GOMAXPROCS(2 * enough)
	if Ensure(); runtime.GOMAXPROCS(0) != 2*enough {
		t.Error("a large machine is made small")
	}
}
