package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

const sees = `
import os
root, secret, plain, name = "/dev/host/root", %q, %q, "key"
def what(use, *args):
    try:
        return use(*args)
    except OSError as e:
        return type(e).__name__
print(what(os.statvfs, root).f_blocks, what(os.path.exists, root + secret), what(os.path.exists, root + secret + "/" + name), what(os.path.exists, root + name))
print(what(open, root + plain + "/key"), what(os.listdir, root), what(os.listdir, root + plain), what(os.stat, root + plain + "/key").st_size)
print(what(open, "/etc/passwd") != "", what(os.listdir, "/"[:1]) != "", open("/dev/host/proc/1/comm").read() != "")
`

// What is only seen tells its size and no content; what is masked in it is not even seen.
func TestSeenOnly(t *testing.T) {
	h := probed(t)
	var dirs [2]string
	for i := range dirs {
		var err error
		if dirs[i], err = filepath.EvalSymlinks(t.TempDir()); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dirs[i], "key"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := script(t, fmt.Sprintf(sees, dirs[0], dirs[1]))
	confine(t, &s, h, Full)
	s.Mounts = []Mount{{"/", "/dev/host/root", true}, {"/proc/1/comm", "/dev/host/proc/1/comm", false}}
	s.Masks = []string{"/dev/host/root" + dirs[0]}
	var fs unix.Statfs_t
	if err := unix.Statfs("/", &fs); err != nil {
		t.Fatal(err)
	}
	r := start(t, s)
	exit := r.wait()
	want := fmt.Sprintf("%d True False False\nPermissionError PermissionError PermissionError 1\nTrue True True\n", fs.Blocks)
	if got := r.output(); got != want || !exit.Success() {
		t.Errorf("%v, said\n%s\nwant\n%s", exit, got, want)
	}
}
