package sandbox

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestCost prints what each level costs over starting Python plainly: medians of
// interleaved runs, so that a machine that slows down slows all of them. It runs where
// `make bench-sandbox` asks for it.
func TestCost(t *testing.T) {
	if os.Getenv("STAVILY_BENCH") == "" {
		t.Skip("run by make bench-sandbox")
	}
	const runs = 200
	host := probed(t)
	ways := []way{{"plain", plainly(python(t))}}
	for _, level := range slices.Backward(Levels) {
		if host.Level.AtLeast(level) {
			ways = append(ways, way{string(level), inSandbox(t, host, level)})
		}
	}
	if bwrap, err := exec.LookPath("bwrap"); err == nil {
		ways = append(ways, way{"bubblewrap --unshare-all", plainly(bwrap, "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", python(t))})
	}
	took := make([][]time.Duration, len(ways))
	for range runs {
		for i, w := range ways {
			begin := time.Now()
			w.run(t)
			took[i] = append(took[i], time.Since(begin))
		}
	}
	report(t, ways, took)
	throughput(t, host)
}

// throughput prints how many cold launches this machine takes in a second.
func throughput(t *testing.T, host *Host) {
	const lasting = 5 * time.Second
	for _, workers := range []int{1, 8} {
		var launches atomic.Int64
		var running sync.WaitGroup
		begin := time.Now()
		for range workers {
			one := inSandbox(t, host, Full)
			running.Go(func() {
				for time.Since(begin) < lasting {
					one(t)
					launches.Add(1)
				}
			})
		}
		running.Wait()
		fmt.Printf("full, %d at a time: %.0f cold launches of Python a second\n", workers, float64(launches.Load())/time.Since(begin).Seconds())
	}
}

type way struct {
	name string
	run  func(t *testing.T)
}

var nothing = []string{"-I", "-S", "-c", "pass"}

func plainly(path string, args ...string) func(t *testing.T) {
	return func(t *testing.T) {
		if out, err := exec.Command(path, append(args, nothing...)...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", path, err, out)
		}
	}
}

func inSandbox(t *testing.T, host *Host, level Level) func(t *testing.T) {
	s := script(t, "pass")
	s.Args = append([]string{"python3"}, nothing...)
	s.Limits = Limits{Time: time.Minute, Memory: 256 << 20, Processes: 64, FileSize: 1 << 30, OpenFiles: 1024}
	if level != None {
		confine(t, &s, host, level)
	}
	return func(t *testing.T) {
		p, err := Start(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := p.Wait(); err != nil || !e.Success() {
			t.Fatalf("%s: %s: %v", level, e, err)
		}
	}
}

func report(t *testing.T, ways []way, took [][]time.Duration) {
	type row struct {
		Name   string  `json:"name"`
		Median float64 `json:"median_ms"`
		P95    float64 `json:"p95_ms"`
		Ratio  float64 `json:"ratio"` // median of the ratios within one round
	}
	var rows []row
	for i, w := range ways {
		ratios := make([]float64, len(took[i]))
		for j := range took[i] {
			ratios[j] = float64(took[i][j]) / float64(took[0][j])
		}
		slices.Sort(ratios)
		rows = append(rows, row{Name: w.name, Ratio: ratios[len(ratios)/2]})
	}
	fmt.Printf("%-26s %10s %10s %10s\n", "python3 -I -S -c pass", "median ms", "p95 ms", "× plain")
	for i := range rows {
		slices.Sort(took[i])
		n := len(took[i])
		rows[i].Median, rows[i].P95 = took[i][n/2].Seconds()*1000, took[i][n*95/100].Seconds()*1000
		fmt.Printf("%-26s %10.2f %10.2f %10.2f\n", rows[i].Name, rows[i].Median, rows[i].P95, rows[i].Ratio)
	}
	if err := json.NewEncoder(os.Stdout).Encode(rows); err != nil {
		t.Fatal(err)
	}
}
