package warm

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stavily/agents/shared/internal/supervise"
	"github.com/stavily/agents/shared/pkg/api"
)

const light = "import json\nimport re\nimport stavily\n\n@stavily.action\ndef act(params, ctx):\n    return {'ok': True}\n"

func measure(b *testing.B, pause time.Duration, do func(context.Context, run) (supervise.ActionResult, error)) {
	var took []time.Duration
	for b.Loop() {
		time.Sleep(pause)
		began := time.Now()
		r, err := do(b.Context(), run{})
		took = append(took, time.Since(began))
		if err != nil || r.Status != api.Completed {
			b.Fatalf("%+v, %v", r, err)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

func BenchmarkWarm(b *testing.B) {
	l := newLab(b, light)
	l.warmUp()
	measure(b, 0, l.warm)
}

func BenchmarkCold(b *testing.B) {
	measure(b, 0, newLab(b, light).cold)
}

func BenchmarkWarmPaced(b *testing.B) {
	l := newLab(b, light)
	l.warmUp()
	measure(b, 5*time.Millisecond, l.warm)
}
