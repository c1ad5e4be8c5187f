package mountinfo

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	got := Parse("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n" +
		"rubbish\n\n37 35 0:5 / /with\\040space\\134\\011x rw - sysfs sysfs rw\n38 35 0:6 / /short rw - tmpfs\n" +
		"39 35 0:7 / /odd\\9 rw shared:2 - tmpfs tmpfs ro\n")
	want := []Mount{
		{"98:0", "/mnt1", "/mnt2", "ext3", "rw,errors=continue"},
		{"0:5", "/", "/with space\\\tx", "sysfs", "rw"},
		{"0:7", "/", "/odd\\9", "tmpfs", "ro"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Parse (-want +got):\n%s", diff)
	}
}
