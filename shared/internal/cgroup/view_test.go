package cgroup

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseOwn(t *testing.T) {
	got := parseOwn("12:cpu,cpuacct:/a\n4:memory:/b/c:d\n1:name=systemd:/e\n0::/f\nnonsense\n")
	want := map[string]string{"cpu": "/a", "cpuacct": "/a", "memory": "/b/c:d", "name=systemd": "/e", "": "/f"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseMounts(t *testing.T) {
	const text = `22 1 254:0 / / rw - ext4 /dev/root rw
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 /docker/a\040b /mnt/with\040space rw - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
short line
`
	got := parseMounts(text)
	want := []mount{
		{"/", "/sys/fs/cgroup", 2, nil},
		{"/docker/a b", "/mnt/with space", 1, []string{"rw", "memory"}},
		{"/", "/sys/fs/cgroup/cpu,cpuacct", 1, []string{"rw", "cpu", "cpuacct"}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(mount{})); diff != "" {
		t.Error(diff)
	}
}

func TestDirOfOurGroup(t *testing.T) {
	for _, c := range []struct{ root, path, want string }{
		{"/", "/", "/mnt"},
		{"/", "/system.slice/x.service", "/mnt/system.slice/x.service"},
		{"/docker/id", "/docker/id", "/mnt"},
		{"/docker/id", "/docker/id/sub", "/mnt/sub"},
		{"/docker/id", "/docker/other", ""},
		{"/docker/id", "/", ""},
	} {
		got, err := mount{root: c.root, point: "/mnt"}.dir(c.path)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("mount of %s: dir(%s) = %q, %v; want %q", c.root, c.path, got, err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("4:memory:/a\n0::/b", "1 2 0:3 / /sys\\040x rw - cgroup2 a rw")
	f.Fuzz(func(t *testing.T, own, mounts string) {
		v := view{parseMounts(mounts), parseOwn(own)}
		if m, err := v.find(2, ""); err == nil {
			_, _ = m.dir(v.own[""])
		}
	})
}
