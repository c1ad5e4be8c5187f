package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/windows"
)

const pluginVar = "STAVILY_TEST_PLUGIN"

// init is the plugin: this test binary, with what it is to do.
func init() {
	do, with, _ := strings.Cut(os.Getenv(pluginVar), " ")
	switch do {
	case "":
		return
	case "exit":
		code, _ := strconv.Atoi(with)
		fmt.Println("to the agent")
		os.Exit(code)
	case "eat":
		for held := [][]byte{}; ; {
			b := make([]byte, 1<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			held = append(held, b)
		}
	case "spawn":
		for range 20 {
			child := exec.Command(os.Args[0])
			child.Env = append(os.Environ(), pluginVar+"=sleep")
			child.Stdout = os.Stdout
			if err := child.Start(); err != nil {
				fmt.Println(err)
				os.Exit(4)
			}
		}
		fmt.Println("spawned")
		time.Sleep(time.Minute)
	case "sleep":
		fmt.Println("up", os.Getpid())
		time.Sleep(time.Minute)
	case "spin":
		for {
		}
	case "write":
		if err := os.WriteFile(with, []byte("x"), 0o600); err != nil {
			fmt.Println(err)
			os.Exit(5)
		}
	}
	os.Exit(0)
}

// plugin runs one and gives what it said.
func plugin(t *testing.T, do string, change func(*Spec)) (Exit, string) {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	s := Spec{
		Path: path, Args: []string{path}, Dir: filepath.Dir(path), Stdout: out, Stderr: out, Temp: t.TempDir(), Home: t.TempDir(),
		Env: []string{pluginVar + "=" + do, "SystemRoot=" + os.Getenv("SystemRoot"), "GOGC=off"}, Grace: time.Second,
	}
	s.Host, s.Level = probed(t), Limited
	s.Limits.Time = 20 * time.Second
	if change != nil {
		change(&s)
	}
	p, err := Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	e, err := p.Wait()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return e, string(text)
}

// The test binary is the probe of its self-test.
func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

var found *Host

// probed is the result of this host's self-test.
func probed(t *testing.T) *Host {
	t.Helper()
	if found == nil {
		h, err := Probe(t.Context(), ProbeOptions{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		if h.Level != Limited {
			t.Fatalf("the self-test gives %+v", h)
		}
		t.Logf("%+v", h)
		found = h
	}
	return found
}

func TestExit(t *testing.T) {
	for _, code := range []int{0, 7} {
		e, said := plugin(t, "exit "+strconv.Itoa(code), nil)
		if e.Code != code || e.Reason != "" || e.CPU <= 0 || e.MaxRSS <= 0 || said != "to the agent\n" {
			t.Errorf("%+v, said %q; want code %d", e, said, code)
		}
	}
}

func TestLimits(t *testing.T) {
	for do, c := range map[string]struct {
		limits Limits
		want   Reason
	}{
		"eat":   {Limits{Memory: 256 << 20}, MemoryLimit},
		"spawn": {Limits{Processes: 8}, ProcessLimit},
		"spin":  {Limits{CPU: time.Second}, CPULimit},
		"sleep": {Limits{Time: time.Second}, TimeLimit},
	} {
		t.Run(do, func(t *testing.T) {
			e, said := plugin(t, do, func(s *Spec) {
				if c.limits.Time == 0 {
					c.limits.Time = 20 * time.Second
				}
				s.Limits = c.limits
			})
			if e.Reason != c.want {
				t.Errorf("the plugin %s (code %d), said %.200q; want %s", e, e.Code, said, c.want)
			}
		})
	}
}

// All that a plugin started ends with it.
func TestTheTreeEnds(t *testing.T) {
	_, said := plugin(t, "spawn", func(s *Spec) { s.Limits.Time = 5 * time.Second })
	n := 0
	for line := range strings.Lines(said) {
		pid, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "up ")))
		if err != nil {
			continue
		}
		n++
		h, err := windows.OpenProcess(windows.SYNCHRONIZE, false, uint32(pid))
		if err != nil {
			continue // gone
		}
		if e, _ := windows.WaitForSingleObject(h, 1000); e != windows.WAIT_OBJECT_0 {
			t.Errorf("process %d is left", pid)
		}
		windows.CloseHandle(h)
	}
	if n != 20 {
		t.Errorf("%d children were there: %q", n, said)
	}
}

func TestLowIntegrity(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	e, said := plugin(t, "write "+outside, nil)
	if e.Success() {
		if why := probed(t).Missing["integrity"]; why != "" {
			t.Skip("no integrity levels: ", why)
		}
		t.Errorf("the plugin wrote %s: %s", outside, said)
	}
	own := t.TempDir()
	if e, said := plugin(t, "write "+filepath.Join(own, "inside"), func(s *Spec) { s.Temp = own }); !e.Success() {
		t.Errorf("the plugin could not write its own directory: %s: %s", e, said)
	}
	if e, said := plugin(t, "write "+outside, func(s *Spec) { s.Write = []string{filepath.Dir(outside)} }); !e.Success() {
		t.Errorf("the plugin could not write what is granted: %s: %s", e, said)
	}
}
