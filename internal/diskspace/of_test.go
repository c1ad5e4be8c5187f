package diskspace

import (
	"path/filepath"
	"testing"
)

func TestOf(t *testing.T) {
	dir := t.TempDir()
	if free, total, err := Of(dir); err != nil || free <= 0 || total < free {
		t.Errorf("%s: %d of %d bytes are free: %v", dir, free, total, err)
	}
	if free, total, err := Of(filepath.Join(dir, "not", "there")); err == nil {
		t.Errorf("what is not there has %d of %d bytes", free, total)
	}
}
