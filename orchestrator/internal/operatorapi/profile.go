package operatorapi

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/shared/pkg/api"
)

// Profiles are what GET /api/v1/debug/pprof/{id} can be asked for.
func Profiles() []string {
	return []string{profileCPU, profileTrace, profileMutex, profileBlock, "heap", "allocs", "goroutine", "threadcreate"}
}

// The profiles that take a while, each a time that the caller chooses.
const (
	profileCPU   = "cpu"
	profileTrace = "trace"
	profileMutex = "mutex"
	profileBlock = "block"
)

// How long a profile takes, in seconds. A trace of a busy server is some MiB a second.
const (
	defaultProfile, maxProfile = 10, 60
	defaultTrace, maxTrace     = 2, 5
)

// Rates of the profiles that are off while nobody asks.
const (
	mutexFraction = 10     // one of so many waits for a lock
	blockRate     = 10_000 // nanoseconds of waiting for which one wait is taken
)

// profiling is held while a profile is taken that the runtime takes once at a time.
var profiling sync.Mutex

// profile takes a profile of this process, in the format of pprof, or a trace. It has the names
// of functions and counts, and nothing of what they work on.
func (operators) profile(ctx context.Context, c *route.Call) (any, error) {
	name := c.PathValue("id")
	absent, most := int64(defaultProfile), int64(maxProfile)
	if name == profileTrace {
		absent, most = defaultTrace, maxTrace
	}
	n, err := whole(c, "seconds", absent, 1, most)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(Profiles(), name) {
		return nil, api.Errorf(api.CodeNotFound, "There is no profile %.40q; ask for one of: %s.", name, strings.Join(Profiles(), ", "))
	}
	var b bytes.Buffer
	if err := takeProfile(ctx, &b, name, seconds(int(n))); err != nil {
		return nil, err
	}
	return &route.Document{Type: "application/octet-stream", Body: b.Bytes(), Header: http.Header{"Cache-Control": {"no-store"}, "Content-Disposition": {`attachment; filename="` + name + `"`}}}, nil
}

// takeProfile writes a profile. What is only counted while somebody asks is counted for a time.
func takeProfile(ctx context.Context, w io.Writer, name string, d time.Duration) error {
	switch name {
	case profileCPU, profileTrace, profileMutex, profileBlock:
	default:
		if name == "heap" {
			runtime.GC() // what is garbage is not what anybody looks for
		}
		return pprof.Lookup(name).WriteTo(w, 0)
	}
	if !profiling.TryLock() {
		return api.Errorf(api.CodeConflict, "Another profile is being taken; ask again when it has ended.")
	}
	defer profiling.Unlock()
	switch name {
	case profileCPU:
		if err := pprof.StartCPUProfile(w); err != nil {
			return api.Errorf(api.CodeConflict, "The processor's profile cannot be taken now: %v.", err)
		}
		defer pprof.StopCPUProfile()
	case profileTrace:
		if err := trace.Start(w); err != nil {
			return api.Errorf(api.CodeConflict, "A trace cannot be taken now: %v.", err)
		}
		defer trace.Stop()
	case profileMutex:
		defer runtime.SetMutexProfileFraction(runtime.SetMutexProfileFraction(mutexFraction))
	case profileBlock:
		runtime.SetBlockProfileRate(blockRate)
		defer runtime.SetBlockProfileRate(0)
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if waits := pprof.Lookup(name); waits != nil { // mutex and block
		return waits.WriteTo(w, 0)
	}
	return nil
}
