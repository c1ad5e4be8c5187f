package quota

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a plugin would do to fill the disk, as fast as it can, until it is killed.
var attacks = map[string]func(dir string){
	"one file":       func(dir string) { fill(create(dir + "/a")) },
	"files of 1 MiB": func(dir string) { each(dir, func(f *os.File) { write(f, 1<<20); f.Close() }) },
	"removed file": func(dir string) {
		f := create(dir + "/a")
		os.Remove(f.Name())
		fill(f)
	},
	"nameless file": func(dir string) {
		fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR, 0o600)
		check(err)
		fill(os.NewFile(uintptr(fd), "nameless"))
	},
	"mapping": func(dir string) {
		each(dir, func(f *os.File) {
			const size = 16 << 20
			check(f.Truncate(size))
			b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_WRITE|unix.PROT_READ, unix.MAP_SHARED)
			check(err)
			for i := 0; i < size; i += 4096 {
				b[i] = 1
			}
			check(unix.Munmap(b))
			f.Close()
		})
	},
	"unreadable directory": func(dir string) {
		check(os.Mkdir(dir+"/d", 0o700))
		f := create(dir + "/d/a")
		check(os.Chmod(dir+"/d", 0))
		fill(f)
	},
	"nested": func(dir string) {
		for {
			dir += "/d"
			check(os.Mkdir(dir, 0o700))
			f := create(dir + "/a")
			write(f, 4<<20)
			f.Close()
		}
	},
	"after a pause": func(dir string) {
		write(create(dir+"/a"), 60<<20)
		time.Sleep(500 * time.Millisecond)
		fill(create(dir + "/b"))
	},
	"from four threads": func(dir string) {
		for i := range 4 {
			go fill(create(fmt.Sprintf("%s/%d", dir, i)))
		}
		select {}
	},
	"out of sight": func(dir string) {
		check(unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
		f := create(dir + "/a")
		os.Remove(f.Name())
		fill(f)
	},
	"empty files": func(dir string) { each(dir, func(f *os.File) { f.Close() }) },
	"many, then one": func(dir string) {
		for i := range 4000 {
			create(fmt.Sprintf("%s/%d", dir, i)).Close()
		}
		fill(create(dir + "/a"))
	},
}

func check(err error) {
	if err != nil {
		fmt.Println("attack:", err)
		os.Exit(3)
	}
}

func create(path string) *os.File {
	f, err := os.Create(path)
	check(err)
	return f
}

func write(f *os.File, n int) {
	for b := make([]byte, 1<<20); n > 0; n -= len(b) {
		_, err := f.Write(b)
		check(err)
	}
}

// fill stops by itself after a gigabyte, for a test that fails.
func fill(f *os.File) { write(f, 1<<30) }

func each(dir string, do func(*os.File)) {
	for i := range 1 << 18 {
		do(create(fmt.Sprintf("%s/%d", dir, i)))
	}
}

const attackVar = "STAVILY_TEST_ATTACK"

// init is the attacking process: this test binary with the attack's name.
func init() {
	if name := os.Getenv(attackVar); name != "" {
		attacks[name](os.Getenv("TMPDIR"))
		os.Exit(0)
	}
}

// An attack that the watch ends has stored little more than it may.
func TestAttacks(t *testing.T) {
	if os.Getuid() == 0 {
		t.Log("root sees through what an ordinary user would hide")
	}
	max := Use{Bytes: 64 << 20, Files: 4096}
	for name := range attacks {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			temp := t.TempDir()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), attackVar+"="+name, "TMPDIR="+temp)
			cmd.Stdout = os.Stdout
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			pids := []int{cmd.Process.Pid}
			w := Start(Spec{Temp: temp, Max: max, Processes: func() []int { return pids }})
			over := isOver(w)
			_ = cmd.Process.Signal(unix.SIGSTOP) // what a killed process had removed would be gone
			seen := w.Close()
			use := stored(temp, pids)
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			t.Logf("noticed at %d MiB, ended at %d MiB and %d files", seen.Bytes>>20, use.Bytes>>20, use.Files)
			if !over {
				t.Errorf("%+v is not over", use)
			}
			if use.Bytes > max.Bytes+allowance || use.Files > max.Files+2048 {
				t.Errorf("%d MiB and %d files are stored", use.Bytes>>20, use.Files)
			}
		})
	}
}

// allowance is what may be stored beyond the limit. Undisturbed it is a tenth of
// that; machines under load take longer to look and to kill.
const allowance = 128 << 20

func stored(temp string, pids []int) Use {
	c := &count{seen: map[inode]bool{}}
	c.walk(temp)
	c.removed(pids, false)
	return c.use
}

func TestLeaks(t *testing.T) {
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	temp, home := t.TempDir(), t.TempDir()
	Start(Spec{Temp: temp}).Close() // what is made once
	before := descriptors()
	for i := range 1000 {
		w := Start(Spec{Temp: temp, Home: home, Max: Use{Bytes: 1 << 20}})
		if i%20 == 0 {
			one, two := newEar(), newEar()
			listenIn(&one, temp, home)
			listenIn(&two, temp)
			one.close()
			two.close()
		}
		w.Close()
	}
	if hall.file != nil || len(hall.ears) != 0 {
		t.Errorf("still listening in %d directories", len(hall.ears))
	}
	for deadline := time.Now().Add(time.Minute); descriptors() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d descriptors before, %d after", before, descriptors())
		}
	}
}

// What is stored while nobody looks is heard, and not only found at the next look.
func TestHears(t *testing.T) {
	temp := t.TempDir()
	e := newEar()
	defer e.close()
	listenIn(&e, temp)
	f := create(temp + "/a")
	hears(t, &e, "a new file")
	os.Remove(f.Name())
	write(f, 1)
	hears(t, &e, "writing to a file without a name")
	check(os.Mkdir(temp+"/d", 0o700))
	hears(t, &e, "a new directory")
	listenIn(&e, temp)
	create(temp + "/d/b").Close()
	hears(t, &e, "a new file in it")
	check(os.RemoveAll(temp + "/d"))
	create(temp + "/c").Close()
	hears(t, &e, "after a directory was removed")
}

func listenIn(e *ear, dirs ...string) {
	c := &count{ear: e, seen: map[inode]bool{}}
	for _, dir := range dirs {
		c.walk(dir)
	}
}

func hears(t *testing.T, e *ear, what string) {
	t.Helper()
	select {
	case <-e.heard():
	case <-time.After(time.Minute):
		t.Fatal("not heard: ", what)
	}
	time.Sleep(5 * listenPause) // for the rest of what it did
	select {
	case <-e.heard():
	default:
	}
}
