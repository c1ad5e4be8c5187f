package telemetry

import (
	"math"
	"runtime"
	"runtime/metrics"
	"time"
)

// started is when this process began, but for the milliseconds before its packages were
// initialised.
var started = time.Now()

// declareGo declares what the Go runtime knows of itself. It reads runtime/metrics, which
// unlike runtime.ReadMemStats stops nothing.
func (r *Registry) declareGo() {
	info := newVec([]string{"version"}, func() *Gauge { return new(Gauge) })
	info.WithLabelValues(runtime.Version()).Set(1)
	r.add(family{name: "go_info", kind: "gauge", labels: []string{"version"}, help: "1, with the version of Go that built the program.", samples: info})
	for _, m := range []struct{ name, kind, help, source string }{
		{"go_goroutines", "gauge", "Goroutines that there are.", "/sched/goroutines:goroutines"},
		{"go_memstats_heap_alloc_bytes", "gauge", "Bytes of objects on the heap, live or not yet swept.", "/memory/classes/heap/objects:bytes"},
		{"go_memstats_sys_bytes", "gauge", "Bytes that the Go runtime has mapped.", "/memory/classes/total:bytes"},
		{"go_gc_cycles_total", "counter", "Collections of garbage that are done.", "/gc/cycles/total:gc-cycles"},
	} {
		r.add(family{name: m.name, kind: m.kind, help: m.help, samples: asked(func() float64 {
			sample := []metrics.Sample{{Name: m.source}}
			metrics.Read(sample)
			if sample[0].Value.Kind() != metrics.KindUint64 {
				return math.NaN() // a Go that does not have it any more
			}
			return float64(sample[0].Value.Uint64())
		})})
	}
}

// declareProcess declares what the system knows of this process. What a platform does not
// tell has no sample there.
func (r *Registry) declareProcess() {
	for _, m := range []struct {
		name, kind, help string
		value            func() float64
	}{
		{"process_cpu_seconds_total", "counter", "CPU time that this process took, without plugins.", cpuSeconds},
		{"process_resident_memory_bytes", "gauge", "Resident memory of this process, without plugins.", residentBytes},
		{"process_virtual_memory_bytes", "gauge", "Virtual memory of this process.", virtualBytes},
		{"process_open_fds", "gauge", "Open file descriptors.", openDescriptors},
		{"process_max_fds", "gauge", "Most file descriptors that may be open.", maxDescriptors},
		{"process_threads", "gauge", "Threads of the operating system.", threads},
		{"process_start_time_seconds", "gauge", "When this process began, in seconds since 1970.", func() float64 { return float64(started.UnixMilli()) / 1000 }},
	} {
		r.add(family{name: m.name, kind: m.kind, help: m.help, samples: asked(m.value)})
	}
}
